"""vLLM and the learner see the same prompts and, after a push, hold the same weights: token by token."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from transformers import AutoConfig, AutoProcessor

from learner.batch import Row, TrainingGroup, collate
from learner.config import GrpoConfig, LearnerConfig
from learner.model import ModelSpec, completion_logprobs
from learner.policy import DeepSpeedPolicy
from learner.tiny import create_tiny_model
from learner.weights import WeightSender
from pretext.recipe import Clip
from pretext.scenes import draw_videos
from pretext.video import probe, read_frames
from rollout.engine import Completion, Sampling
from rollout.prompt import EngineInput, ModelInput, PromptBuilder, forbidden_token_ids
from tests.contract.engine_process import EngineProcess, engine_options

REAL = Path(__file__).parents[3] / "shared" / "videos" / "real"
SAMPLING = Sampling(num_completions=4, temperature=0.7, max_tokens=12, seed=5)
TOLERANCE = 1e-4


def _videos(folder: Path) -> list[Path]:
    """Real clips of several sizes and codecs where they lie beside the checkout, else drawn ones."""
    names = ("bikes.mp4", "carphone.mp4", "bigbuckbunny.mp4", "pancake.mkv")
    real = [REAL / name for name in names if (REAL / name).exists()]
    return real or draw_videos(folder, count=4, seed=0, size_px=96)


def _clip(video: Path, num_frames: int, height: int, width: int, step_s: float) -> Clip:
    info = probe(video)
    indices = np.linspace(0, info.num_frames - 1, num_frames).astype(np.int64)
    frames = read_frames(info.path, indices, height_px=height, width_px=width)
    return Clip(frames, 0.3 + step_s * np.arange(num_frames))


def _prompts(builder: PromptBuilder, videos: list[Path]) -> list[tuple[EngineInput, ModelInput]]:
    """Mixed lengths, sizes and frame rates; one video, and several in one prompt as the jigsaw has."""
    a, b, c, d = videos
    one = ("Which seconds were edited?", 0)
    several = ("Clip 1:", 0, "Clip 2:", 1, "Clip 3:", 2, "What is their order in time?")
    return [
        builder.build(system="Answer directly.", content=one, clips=[_clip(a, 8, 64, 64, 0.5)]),
        builder.build(system="Answer directly.", content=one, clips=[_clip(b, 12, 64, 96, 0.41)]),
        builder.build(system="", content=one, clips=[_clip(c, 2, 96, 64, 1.3)]),
        builder.build(
            system="Answer directly.",
            content=several,
            clips=[_clip(a, 8, 64, 64, 0.37), _clip(c, 4, 96, 64, 0.41), _clip(d, 2, 64, 64, 1.7)],
        ),
    ]


@pytest.fixture(scope="module")
def process_group() -> Iterator[None]:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}
    os.environ["LOCAL_RANK"] = "0"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _gap(policy: DeepSpeedPolicy, prompts: list[Any], answers: list[list[Completion]]) -> float:
    """The largest difference between the engine's logprobs and the learner's, computed in both its ways."""
    rows = [
        Row(model_input, completion.token_ids, completion.logprobs, 0.0)
        for (_, model_input), group in zip(prompts, answers, strict=True)
        for completion in group
    ]
    batch = collate(rows, pad_token_id=policy.spec.pad_token_id)
    gaps = []
    for shared_prefix in (False, True):
        with torch.no_grad():
            logprobs, _ = completion_logprobs(policy.engine, batch, policy.spec, shared_prefix=shared_prefix)
        gaps.append(float(((logprobs - batch.rollout_logprobs).abs() * batch.completion_mask).max()))
    return max(gaps)


def _training_groups(prompts: list[Any], answers: list[list[Completion]]) -> list[TrainingGroup]:
    return [
        TrainingGroup(
            fetch_prompt=lambda model_input=model_input: model_input,
            completions=tuple(completion.token_ids for completion in group),
            rollout_logprobs=tuple(completion.logprobs for completion in group),
            advantages=(1.0, -1.0, 0.5, -0.5),
        )
        for (_, model_input), group in zip(prompts, answers, strict=True)
    ]


@pytest.mark.parametrize("architecture", ["qwen3_vl", "qwen2_5_vl"])
def test_logprobs_agree_before_and_after_a_push_and_only_then(
    architecture: Any, tmp_path: Path, process_group: None
) -> None:
    folder = create_tiny_model(
        tmp_path / "model",
        corpus=[
            "Which seconds were edited? What is their order in time? Clip 1: Answer directly. <0.5 seconds>"
        ]
        * 2,
        architecture=architecture,
    )
    config, processor = AutoConfig.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    builder = PromptBuilder(processor, config, max_prompt_tokens=2000)
    prompts = _prompts(builder, _videos(tmp_path / "videos"))
    forbidden = forbidden_token_ids(processor.tokenizer, config.text_config.vocab_size)
    spec = ModelSpec(
        path=str(folder), dtype="float32", attention="sdpa", pad_token_id=processor.tokenizer.pad_token_id,
        forbidden=forbidden, pixel_mean=builder.pixel_mean, pixel_std=builder.pixel_std,
        temperature=SAMPLING.temperature,
    )  # fmt: skip
    learner = LearnerConfig(dtype="float32", learning_rate=2e-3, gradient_checkpointing=False)
    policy = DeepSpeedPolicy(spec, learner, GrpoConfig(kl_coef=0.0), device="cpu", reference_path=str(folder))
    engine = EngineProcess(engine_options(str(folder)))
    try:
        inputs = [engine_input for engine_input, _ in prompts]
        answers = engine.generate(inputs, SAMPLING)
        assert _gap(policy, prompts, answers) < TOLERANCE
        sampled = {token for group in answers for completion in group for token in completion.token_ids}
        assert not sampled & set(forbidden)

        for _ in range(3):
            policy.update(_training_groups(prompts, answers))
        # The same videos again, so that every cache is warm: without a push the engine answers as before.
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) > 100 * TOLERANCE

        sender = WeightSender(policy, backend="gloo", timeout_s=60)
        sender.send(engine)
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) < TOLERANCE

        policy.update(_training_groups(prompts, answers))
        sender.send(engine)  # the group stays open from push to push
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) < TOLERANCE
        sender.close()
    finally:
        engine.close()
