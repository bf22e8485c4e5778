"""Tests of pushes: a push replaces the weights that it sends, and leaves all others unchanged."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from rollout.engine import Completion
from rollout.prompt import EngineInput
from tests.conftest import TinyFolder
from tests.contract.engine_process import EngineProcess, engine_options
from tests.contract.engines import (
    SAMPLING,
    Engines,
    GivenWeights,
    State,
    load_model,
    probe_prompts,
    same_completions,
    state_of,
)
from weight_sync import sender as weights
from weight_sync.buckets import plan_buckets
from weight_sync.gloo_transfer import GlooTrainerInitInfo, _GlooGroup
from weight_sync.sender import WeightSender

BUCKET_BYTES = 50_000  # smaller than an embedding; q, k and v of a layer are in two buckets
# Trained parameters with a frozen vision tower, and with each kind of adapter, which leaves biases and norms frozen.
PARTS = {
    "language model": r"model\.language_model\.",
    "attention": r".*language_model\.layers\.\d+\.self_attn\.[qkvo]_proj\.weight",
    "mlp": r".*language_model\.layers\.\d+\.mlp\.(gate|up|down)_proj\.weight",
}


def _moved(start: State) -> State:
    """Return the model's weights with every value changed. Vectors are in bfloat16, so that dtypes are mixed."""
    generator = torch.Generator().manual_seed(1)
    moved = {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in start.items()
    }
    return {name: tensor.bfloat16() if tensor.ndim == 1 else tensor for name, tensor in moved.items()}


def _save_model(folder: Path, state: State, out: Path) -> Path:
    """Save the model of `folder` with the weights `state` to `out`."""
    shutil.copytree(folder, out)
    model = load_model(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[name])
    model.save_pretrained(out)
    return out


def _completions_of_a_new_engine(folder: Path, prompts: list[EngineInput]) -> list[list[Completion]]:
    engine = EngineProcess(engine_options(str(folder)))
    try:
        return engine.generate(prompts, SAMPLING)
    finally:
        engine.close()


def test_a_push_leaves_what_was_sent_and_the_rest_as_it_was(
    engine_model: TinyFolder, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is a Qwen3-VL. test_parity pushes to both architectures."""
    monkeypatch.setitem(weights.BUCKET_BYTES, "gloo", BUCKET_BYTES)
    folder = engine_model("qwen3_vl")
    start = state_of(folder)
    moved = _moved(start)
    prompts = probe_prompts(folder)
    whole = GivenWeights(start, moved)
    shapes = whole.parameter_shapes(trained_only=False)
    sizes = [bucket.num_bytes for bucket in plan_buckets(shapes, BUCKET_BYTES)]
    assert min(sizes) < BUCKET_BYTES < max(sizes), (
        "some buckets must hold several tensors, and some one tensor that is larger than a bucket"
    )

    with engines.lend(folder) as engine:

        def completions_after(policy: GivenWeights, *, trained_only: bool) -> list[list[Completion]]:
            sender = WeightSender(policy, backend="gloo", timeout_s=600, trained_only=trained_only)
            sender.send(engine)
            sender.send(engine)  # the second push uses the same slots
            sender.close()
            return engine.generate(prompts, SAMPLING)

        before = engine.generate(prompts, SAMPLING)
        # After a push of everything the engine generates what one generates that was started with these weights.
        expected = _completions_of_a_new_engine(_save_model(folder, moved, tmp_path / "moved"), prompts)
        assert not same_completions(before, expected)
        assert same_completions(completions_after(whole, trained_only=False), expected)

        for part, pattern in PARTS.items():
            policy = GivenWeights(start, {name: moved[name] for name in moved if re.match(pattern, name)})
            expected = completions_after(policy, trained_only=False)
            assert same_completions(completions_after(GivenWeights(start, {}), trained_only=False), before)
            assert not same_completions(before, expected), part
            assert same_completions(completions_after(policy, trained_only=True), expected), part


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
    learner, engine = _groups(timeout_s=600)

    def send() -> None:
        for index, memory in enumerate(learner.send(sizes)):
            memory.fill_(index)

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send)
        received = 0
        for index, memory in enumerate(engine.receive(sizes)):
            threads.submit(lambda: None).result()  # the sender runs ahead until its slots are full
            assert memory.tolist() == [index] * sizes[index]
            received += 1
        sending.result()
    assert received == len(sizes)
    for group in (learner, engine):
        group.destroy()


def test_a_peer_that_never_sends_is_an_error_at_the_deadline() -> None:
    learner, engine = _groups(timeout_s=5)  # enough time to connect on a busy machine
    with pytest.raises(RuntimeError, match=r"(?i)time|abort"):
        next(engine.receive([10]))
    for group in (learner, engine):
        group.destroy()
