"""What every learner rank runs inside Ray Train: orders in, steps and pushes out.

    order ──► Train: update the policy                      ──► report
          ──► Push:  send the weights to the members named  ──► report
          ──► Save:  write a checkpoint                     ──► report
          ──► Stop

Consumes orders from the port, waits only for the next one, and is unblocked by the producer side. All
ranks get the same orders, so all take part in each collective.

A step whose logprobs break parity is not tried again: it is reported as such, and the order that follows is to stop.
"""

import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from learner.algorithm.parity import ParityError
from learner.batch import TrainingGroup
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec
from learner.policy import DeepSpeedPolicy
from weight_sync.sender import PushHung, RolloutClient, WeightSender

NO_SCORE = -1.0  # scores are from 0 to 1


@dataclass(frozen=True)
class Train:
    """Take step number `step` (from 0) on these groups."""

    step: int
    groups: Sequence[TrainingGroup]


@dataclass(frozen=True)
class Push:
    """Send the current weights to the engines behind `client`. `members` names the set."""

    policy_version: int
    members: tuple[str, ...]
    client: RolloutClient


@dataclass(frozen=True)
class Save:
    """Write a checkpoint, from which step `step` is next, on the training prompts from number `cursor` on."""

    step: int
    cursor: int
    score: float | None  # of these weights on held-out samples; None: not known


@dataclass(frozen=True)
class Stop:
    """All steps are done, or none is to follow."""


Order = Train | Push | Save | Stop


class OrderPort(Protocol):
    """The learner's line to the producer side."""

    def joined(self, rank: int) -> None: ...  # every rank: it is there

    def begin(self, step: int, cursor: int) -> None: ...  # rank 0: weights of version `step` are loaded

    def order(self, number: int) -> Order: ...  # blocks until it is there

    def report(
        self, number: int, *, failure: str | None, metrics: dict[str, float], seconds: float
    ) -> None: ...

    def parity_broken(self, number: int, message: str, sample: dict[str, Any]) -> None: ...  # any rank


class Updates(Protocol):
    """What the loop itself asks of a policy."""

    @property
    def rank(self) -> int: ...

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]: ...


@dataclass(frozen=True)
class LoopConfig:
    """All that a learner rank needs, picklable."""

    spec: ModelSpec
    learner: LearnerConfig
    grpo: GrpoConfig
    device: str
    weight_transfer: str  # "gloo", "nccl" or "ipc"
    engines_sleep: bool  # between steps, and forget all weights
    push_timeout_s: float
    steps: int  # of the run
    max_tokens: int  # of a completion
    seed: int
    connect: Callable[[str], OrderPort]  # from the learner session's name


def train_loop(config: LoopConfig) -> None:
    """Run one learner rank until told to stop."""
    import ray.train.torch

    rank = dist.get_rank()
    _seed_everything(config.seed + rank)
    if config.device == "cuda":
        torch.cuda.set_device(ray.train.torch.get_device())
    else:  # Ray gives a process with a share of a CPU one thread
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // dist.get_world_size()))
    policy = DeepSpeedPolicy(
        config.spec,
        config.learner,
        config.grpo,
        device=config.device,
        reference_path=config.spec.path,
        total_steps=config.steps,
        max_tokens=config.max_tokens,
        shares_gpu=config.engines_sleep,
    )
    checkpoint = ray.train.get_checkpoint()
    step, cursor = _restore(policy, checkpoint) if checkpoint is not None else (0, 0)
    port = config.connect(_session_name())
    port.joined(rank)
    if rank == 0:
        port.begin(step, cursor)
    dist.barrier()  # no rank asks for orders of a session that has not begun
    pusher = _Pusher(policy, config)
    try:
        carry_out_orders(policy, port, push=pusher.push, save=lambda order: _save(policy, order))
    finally:
        pusher.close()


def carry_out_orders(
    policy: Updates, port: OrderPort, *, push: Callable[[Push], str | None], save: Callable[[Save], None]
) -> None:
    """Do as the port says until it says stop.

    Args:
        push: carries out a push; None, or why it failed.
        save: writes a checkpoint.
    """
    number = 0
    while not isinstance(order := port.order(number), Stop):
        started = time.perf_counter()
        failure, metrics = None, {}
        try:
            match order:
                case Train():
                    metrics = policy.update(order.groups, step=order.step)
                case Push():
                    failure = push(order)
                case Save():
                    save(order)
        except ParityError as error:
            port.parity_broken(number, str(error), error.sample)
        else:
            if policy.rank == 0:
                seconds = time.perf_counter() - started
                port.report(number, failure=failure, metrics=metrics, seconds=seconds)
        number += 1
    if policy.rank == 0:
        port.report(number, failure=None, metrics={}, seconds=0.0)


def _session_name() -> str:
    """A name for this life of the learner group, the same on all ranks."""
    name = torch.tensor(list(uuid.uuid4().bytes))
    dist.broadcast(name, src=0)
    return bytes(name.tolist()).hex()


class _Pusher:
    """Keeps the transfer group open from push to push while its members stay the same."""

    def __init__(self, policy: DeepSpeedPolicy, config: LoopConfig) -> None:
        self._policy, self._config = policy, config
        self._sender: WeightSender | None = None
        self._members: tuple[str, ...] = ()

    def push(self, order: Push) -> str | None:
        """Carry out a push; None, or why it failed (on rank 0)."""
        try:
            if self._sender is None or order.members != self._members:
                self.close()
                self._sender = WeightSender(
                    self._policy,
                    backend=self._config.weight_transfer,
                    timeout_s=self._config.push_timeout_s,
                    trained_only=not self._config.engines_sleep,
                )
                self._members = order.members
            self._sender.send(order.client)
        except PushHung:
            raise  # Ray Train restarts the group, and the new session pushes again
        except Exception as error:  # the producer decides what becomes of the members; a push is retried
            if self._policy.rank != 0:
                raise  # the engines are rank 0's affair: here a gather broke
            self.close()
            return f"push of version {order.policy_version} failed: {type(error).__name__}: {error}"
        return None

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        self._sender = None


def _save(policy: DeepSpeedPolicy, order: Save) -> None:
    """Write a checkpoint through Ray Train: each rank its shards, rank 0 where the run stands."""
    import ray.train

    with tempfile.TemporaryDirectory(prefix="videossr-checkpoint-") as scratch:
        folder = Path(scratch)
        policy.save(folder)
        if policy.rank == 0:
            where = {"step": order.step, "cursor": order.cursor, "score": order.score}
            state = where | {"start_model": policy.spec.path, "ranks": policy.world_size}
            (folder / "state.json").write_text(json.dumps(state))
        # Ray Train keeps the checkpoints of the highest scores, and the latest. One without is below all others;
        # not by an infinity, which Ray Train's own record cannot hold (it reads it back as null, and fails).
        score = NO_SCORE if order.score is None else order.score
        ray.train.report(
            {"step": order.step, "score": score}, checkpoint=ray.train.Checkpoint.from_directory(scratch)
        )


def _restore(policy: DeepSpeedPolicy, checkpoint: Any) -> tuple[int, int]:
    """Read the checkpoint back: the step to go on from, and the number of its first prompt."""
    with checkpoint.as_directory() as folder:
        policy.load(Path(folder))
        state = json.loads((Path(folder) / "state.json").read_text())
        return int(state["step"]), int(state["cursor"])


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
