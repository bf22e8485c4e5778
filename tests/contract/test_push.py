"""What a push leaves in an engine: the weights that were sent, whole or in part, and the rest as it was."""

import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from learner.modeling.tiny import create_tiny_model
from pretext.recipe import Clip
from rollout.engine import Completion, Sampling
from rollout.prompt import EngineInput, PromptBuilder
from tests.contract.engine_process import EngineProcess, engine_options
from weight_sync import sender as weights
from weight_sync.buckets import plan_buckets
from weight_sync.gloo_transfer import GlooTrainerInitInfo, _GlooGroup
from weight_sync.sender import WeightSender

SAMPLING = Sampling(num_completions=4, temperature=1.0, max_tokens=8, seed=3)
BUCKET_BYTES = 50_000  # less than an embedding; q, k and v of one layer lie in two
# What is trained where the vision tower is frozen, and under adapters of each kind (biases and norms stay).
PARTS = {
    "language model": r"model\.language_model\.",
    "attention": r".*language_model\.layers\.\d+\.self_attn\.[qkvo]_proj\.weight",
    "mlp": r".*language_model\.layers\.\d+\.mlp\.(gate|up|down)_proj\.weight",
}
State = dict[str, torch.Tensor]


class Weights:
    """A policy of given weights (weight_sync.sender.PushedPolicy)."""

    rank = 0
    device = torch.device("cpu")

    def __init__(self, start: State, trained: Mapping[str, torch.Tensor]) -> None:
        self._state, self._trained = start | dict(trained), set(trained)

    def named_parameters(self, *, trained_only: bool) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self._state.items():
            if not trained_only or name in self._trained:
                yield name, tensor

    def parameter_shapes(self, *, trained_only: bool) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        pairs = self.named_parameters(trained_only=trained_only)
        return [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in pairs]


def _moved(start: State) -> State:
    """Other weights of the same model, every one of them; vectors in half the precision, as a mix of dtypes."""
    generator = torch.Generator().manual_seed(1)
    moved = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in start.items()
    }
    return {name: tensor.bfloat16() if tensor.ndim == 1 else tensor for name, tensor in moved.items()}


def _load(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def _save_beside(folder: Path, state: State) -> Path:
    """The model of `folder` with other weights, as a folder of its own."""
    other = folder.with_name("moved")
    shutil.copytree(folder, other)
    model = _load(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
    model.save_pretrained(other)
    return other


def _prompts(folder: Path) -> list[EngineInput]:
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=2000
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 64, 64, 3), dtype=np.uint8)
    clips = [Clip(each, 0.5 * np.arange(8)) for each in frames]
    return [builder.build(system="", content=("When?", 0), clips=[clip])[0] for clip in clips]


def _same(a: list[list[Completion]], b: list[list[Completion]]) -> bool:
    pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    return all(
        x.token_ids == y.token_ids and np.allclose(x.logprobs, y.logprobs, rtol=0, atol=1e-5)
        for x, y in pairs
    )


def _answers_of_a_new_engine(folder: Path, prompts: list[EngineInput]) -> list[list[Completion]]:
    engine = EngineProcess(engine_options(str(folder)))
    try:
        return engine.generate(prompts, SAMPLING)
    finally:
        engine.close()


@pytest.mark.parametrize("architecture", ["qwen3_vl"])  # test_parity pushes to both
def test_a_push_leaves_what_was_sent_and_the_rest_as_it_was(
    architecture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.BUCKET_BYTES, "gloo", BUCKET_BYTES)
    folder = create_tiny_model(tmp_path / "model", corpus=["When? 0123456789"] * 2, architecture=architecture)
    start = {name: parameter.detach() for name, parameter in _load(folder).named_parameters()}
    moved = _moved(start)
    prompts = _prompts(folder)
    whole = Weights(start, moved)
    shapes = whole.parameter_shapes(trained_only=False)
    sizes = [bucket.num_bytes for bucket in plan_buckets(shapes, BUCKET_BYTES)]
    assert min(sizes) < BUCKET_BYTES < max(sizes), (
        "the test's buckets: some of several, some of one too large"
    )

    engine = EngineProcess(engine_options(str(folder)))

    def answers_after(policy: Weights, *, trained_only: bool) -> list[list[Completion]]:
        sender = WeightSender(policy, backend="gloo", timeout_s=60, trained_only=trained_only)
        sender.send(engine)
        sender.send(engine)  # the second finds the slots as the first left them
        sender.close()
        return engine.generate(prompts, SAMPLING)

    try:
        before = engine.generate(prompts, SAMPLING)
        # A push of everything: the engine answers as one that was started with these weights.
        expected = _answers_of_a_new_engine(_save_beside(folder, moved), prompts)
        assert not _same(before, expected)
        assert _same(answers_after(whole, trained_only=False), expected)

        for part, pattern in PARTS.items():
            policy = Weights(start, {name: moved[name] for name in moved if re.match(pattern, name)})
            expected = answers_after(policy, trained_only=False)
            assert _same(answers_after(Weights(start, {}), trained_only=False), before)
            assert not _same(before, expected), part
            assert _same(answers_after(policy, trained_only=True), expected), part
    finally:
        engine.close()


def _groups(timeout_s: float) -> list[_GlooGroup]:
    info = GlooTrainerInitInfo(
        master_address="127.0.0.1",
        master_port=weights._free_port(),
        world_size=2,
        timeout_s=timeout_s,
        bucket_bytes=1000,
        rank=0,
    )
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda rank: _GlooGroup(info, rank), range(2)))


def test_buckets_arrive_in_order_at_a_slow_receiver() -> None:
    sizes = [1000, 10, 5000, 1000, 999, 1, 2000, 1000]  # two of them larger than a slot
    learner, engine = _groups(timeout_s=20)

    def send() -> None:
        for index, memory in enumerate(learner.send(sizes)):
            memory.fill_(index)

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send)
        received = 0
        for index, memory in enumerate(engine.receive(sizes)):
            threads.submit(lambda: None).result()  # let the sender run ahead as far as it may
            assert memory.tolist() == [index] * sizes[index]
            received += 1
        sending.result()
    assert received == len(sizes)
    for group in (learner, engine):
        group.destroy()


def test_a_peer_that_stays_away_is_an_error_at_the_deadline() -> None:
    learner, engine = _groups(timeout_s=1)
    with pytest.raises(RuntimeError, match=r"(?i)time|abort"):
        next(engine.receive([10]))
    for group in (learner, engine):
        group.destroy()
