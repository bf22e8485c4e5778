"""Tests that vLLM and the learner compute the same logprobs for each token, before and after a push."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from transformers import AutoConfig, AutoProcessor

from learner.algorithm.parity import ParityError
from learner.batch import PromptWithCompletions, collate
from learner.commands import TrainingGroup
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model
from learner.policy import DeepSpeedPolicy
from pretext.recipe import Clip
from pretext.scenes import draw_videos
from pretext.video import probe, read_frames
from rollout.engine import Completion, Sampling
from rollout.prompt import EngineInput, ModelInput, PromptBuilder, forbidden_token_ids
from tests.conftest import TinyFolder
from tests.contract.engines import Engines
from weight_sync.sender import WeightSender

REAL = Path(__file__).parents[3] / "shared" / "videos" / "real"
SAMPLING = Sampling(num_completions=4, temperature=0.7, max_tokens=12, seed=5)
TOLERANCE = 1e-4


def _videos(folder: Path) -> list[Path]:
    """Return real videos of several sizes and codecs if the folder above the checkout has them, else drawn ones."""
    names = ("bikes.mp4", "carphone.mp4", "bigbuckbunny.mp4", "pancake.mkv")
    real = [REAL / name for name in names if (REAL / name).exists()]
    return real or draw_videos(folder, count=4, seed=0, size_px=96)


def _clip(video: Path, num_frames: int, height: int, width: int, step_s: float) -> Clip:
    info = probe(video)
    indices = np.linspace(0, info.num_frames - 1, num_frames).astype(np.int64)
    frames = read_frames(info.path, indices, height_px=height, width_px=width)
    return Clip(frames, 0.3 + step_s * np.arange(num_frames))


def _prompts(builder: PromptBuilder, videos: list[Path]) -> list[tuple[EngineInput, ModelInput]]:
    """Return prompts of several lengths, frame sizes and frame rates: some with one clip, some with a jigsaw's."""
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


def _gap(policy: DeepSpeedPolicy, prompts: list[Any], completions: list[list[Completion]]) -> float:
    """Return the largest difference of the engine's logprobs from the learner's, packed and plain."""
    batch = collate(
        [
            PromptWithCompletions(model_input, [c.token_ids for c in group], [c.logprobs for c in group])
            for (_, model_input), group in zip(prompts, completions, strict=True)
        ]
    )
    plain = PolicyModel(load_model(policy.spec, packed=False), policy.spec, shared_prefix=False)
    plain.load_state_dict(policy.engine.module.state_dict())
    with torch.no_grad():
        gaps = [(way(batch)[0] - batch.rollout_logprobs).abs() for way in (policy.engine, plain)]
    return float(torch.stack(gaps).max())


def _training_groups(
    prompts: list[Any], completions: list[list[Completion]], version: int = 0
) -> list[TrainingGroup]:
    return [
        TrainingGroup(
            group_id=str(index),
            task="grounding",
            fetch_prompt=lambda model_input=model_input: model_input,
            prompt_tokens=len(model_input.token_ids),
            completions=tuple(completion.token_ids for completion in group),
            rollout_logprobs=tuple(completion.logprobs for completion in group),
            rewards=(1.0, 0.0, 0.7, 0.2),
            truncated=(False,) * 4,
            policy_version=version,
        )
        for index, ((_, model_input), group) in enumerate(zip(prompts, completions, strict=True))
    ]


@pytest.mark.parametrize("architecture", ["qwen3_vl", "qwen2_5_vl"])
@pytest.mark.usefixtures("process_group")
def test_logprobs_agree_before_and_after_a_push_and_only_then(
    architecture: str, tmp_path: Path, engine_model: TinyFolder, engines: Engines
) -> None:
    folder = engine_model(architecture)
    config, processor = AutoConfig.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    builder = PromptBuilder(processor, config, max_prompt_tokens=2000)
    prompts = _prompts(builder, _videos(tmp_path / "videos"))
    forbidden = forbidden_token_ids(processor.tokenizer, config.text_config.vocab_size)
    spec = ModelSpec(
        path=str(folder), dtype="float32", attention="sdpa", pad_token_id=processor.tokenizer.pad_token_id,
        forbidden=forbidden, pixel_mean=builder.pixel_mean, pixel_std=builder.pixel_std,
        temperature=SAMPLING.temperature,
    )  # fmt: skip
    learner = LearnerConfig(
        dtype="float32", learning_rate=2e-3, gradient_checkpointing=False, max_logprob_gap=TOLERANCE
    )
    policy = DeepSpeedPolicy(
        spec, learner, GrpoConfig(kl_coef=0.0), device="cpu", reference_path=str(folder), total_steps=4,
        max_tokens=SAMPLING.max_tokens,
    )  # fmt: skip
    with engines.lend(folder) as engine:
        inputs = [engine_input for engine_input, _ in prompts]
        completions = engine.generate(inputs, SAMPLING)
        assert _gap(policy, prompts, completions) < TOLERANCE
        generated = {token for group in completions for each in group for token in each.token_ids}
        assert not generated & set(forbidden)

        metrics = policy.update(_training_groups(prompts, completions), step=0)
        assert 0 < metrics["policy/logprob_gap_mean"] < metrics["policy/logprob_gap_max"] < TOLERANCE
        for step in (1, 2):
            policy.update(_training_groups(prompts, completions), step=step)
        # The same videos fill the engine's caches again. Before a push the engine still has the old weights.
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) > 100 * TOLERANCE

        sender = WeightSender(policy.weights, backend="gloo", timeout_s=600)
        sender.send(engine)
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) < TOLERANCE

        # These completions are from the start policy but labelled with this policy's version. The update must raise
        # an error that contains the sample.
        with pytest.raises(ParityError, match="max_logprob_gap") as caught:
            policy.update(_training_groups(prompts, completions, version=3), step=3)
        assert caught.value.sample["token_ids"] in [list(c.token_ids) for group in completions for c in group]

        policy.update(_training_groups(prompts, completions), step=3)
        sender.send(engine)  # a second push uses the open transfer group
        assert _gap(policy, prompts, engine.generate(inputs, SAMPLING)) < TOLERANCE
        sender.close()
