"""Tests of failing pushes: whichever call fails on rank 0, the other ranks stay in step.

They must, because gathering parameters under ZeRO-3 is a collective operation of all ranks.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec
from learner.modeling.tiny import create_tiny_model
from learner.policy import DeepSpeedPolicy
from tests.contract.processes import start_ranks
from weight_sync.sender import WeightSender

CALLS = ("init_weight_transfer_engine", "start_weight_update", "update_weights")
_HANG_S = 600.0  # bounds a hang; all calls take far less, also on a busy machine


class BrokenEngines:
    """Engines that fail in one call. They never join the transfer group, so no push to them can succeed."""

    num_ranks = 1

    def __init__(self, broken: str) -> None:
        self._broken = broken

    def _answer(self, call: str) -> None:
        if call == self._broken:
            raise RuntimeError(f"{call} broke")

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._answer("init_weight_transfer_engine")

    def start_weight_update(self) -> None:
        self._answer("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._answer("update_weights")

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._answer("finish_weight_update")


class _Wire:
    """A transfer group without a connection, with which a push reaches the calls that follow joining."""

    def send(self, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
        for size in sizes:
            yield torch.empty(size, dtype=torch.uint8)

    def destroy(self) -> None: ...


class _ShortRendezvous(WeightSender):
    """A sender that waits only 5 s for the engines to join, but has a long deadline for the whole push."""

    def _init_info(self, num_engine_ranks: int) -> Any:
        return dataclasses.replace(super()._init_info(num_engine_ranks), timeout_s=5.0)


def _rank(rank: int, spec: ModelSpec, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    learner = LearnerConfig(dtype="float32", gradient_checkpointing=False, zero_stage=3)
    policy = DeepSpeedPolicy(
        spec, learner, GrpoConfig(kl_coef=0.0), device="cpu", reference_path=spec.path, total_steps=1,
        max_tokens=1,
    )  # fmt: skip
    import weight_sync.gloo_transfer as transfer

    results = []
    for call in (*CALLS, "finish_weight_update"):
        if call != CALLS[0]:
            transfer._GlooGroup = lambda info, rank: _Wire()  # type: ignore[misc,assignment]
        sender = _ShortRendezvous(policy.weights, backend="gloo", timeout_s=_HANG_S)
        try:
            sender.send(BrokenEngines(call))
            results.append("sent")
        except RuntimeError as error:
            results.append(str(error))
        # The ranks are still in step: they gather the same parameters and agree on their sum.
        total = torch.tensor(
            sum(float(tensor.double().sum()) for _, tensor in policy.weights.named_parameters())
        )
        both = [torch.zeros(()), torch.zeros(())]
        dist.all_gather(both, total)
        assert torch.equal(both[0], both[1])
    (folder / f"results{rank}").write_text("\n".join(results))
    for thread in threading.enumerate():
        if (
            thread.name == "rendezvous"
        ):  # it waits for engines that never join; exiting now would abort the process
            thread.join(_HANG_S)
    dist.destroy_process_group()


def test_ranks_stay_in_step_whichever_call_of_a_push_fails(tmp_path: Path) -> None:
    path = create_tiny_model(tmp_path / "model", corpus=["When? 0123456789"])
    spec = ModelSpec(
        path=str(path), dtype="float32", attention="sdpa", pad_token_id=0, forbidden=(3,), temperature=1.0,
        pixel_mean=(0.5, 0.5, 0.5), pixel_std=(0.5, 0.5, 0.5),
    )  # fmt: skip
    context = start_ranks(_rank, (spec, tmp_path), world_size=2)
    deadline = time.monotonic() + _HANG_S
    while not (done := context.join(1)) and time.monotonic() < deadline:
        pass
    if not done:
        for process in context.processes:
            process.kill()
    assert done, "a rank is stuck"
    calls = [*CALLS, "finish_weight_update"]
    assert (tmp_path / "results0").read_text().splitlines() == [f"{call} broke" for call in calls]
    assert (tmp_path / "results1").read_text().splitlines() == ["sent"] * 4
