"""The loop that every learner rank runs inside Ray Train: it carries out the controller's commands.

    command ──► Train: update the policy                             ──► report
            ──► Push:  send the weights to the rollout workers named ──► report
            ──► Save:  write a checkpoint                            ──► report
            ──► Stop

A rank waits until the controller gives the next command (`learner/commands.py`). All ranks get the same commands, so
all take part in each collective.

A step whose logprobs break parity is not repeated: the rank reports the failure, and the next command is Stop.
"""

import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist

from learner.algorithm.parity import ParityError
from learner.checkpoint import restore_checkpoint, save_checkpoint
from learner.commands import (
    Command,
    CommandReport,
    ParityFailure,
    Push,
    Save,
    Stop,
    Train,
    TrainingGroup,
)
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec
from learner.policy import DeepSpeedPolicy
from weight_sync.pusher import Pusher

logger = logging.getLogger(__name__)


class CommandPort(Protocol):
    """A learner rank's connection to the controller."""

    def joined(self, rank: int) -> None: ...  # called by every rank when it has started

    def begin(self, step: int, cursor: int) -> None: ...  # rank 0: the weights of version `step` are loaded

    def command(self, number: int) -> Command: ...  # blocks until command `number` is given

    def report(self, number: int, report: CommandReport) -> None: ...  # rank 0; any rank on a parity failure


class UpdatedPolicy(Protocol):
    """The part of learner.policy.DeepSpeedPolicy that the command loop uses."""

    @property
    def rank(self) -> int: ...

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]: ...


@dataclass(frozen=True)
class LoopConfig:
    """The sections of the configuration and the facts of the run that a learner rank needs. Picklable."""

    spec: ModelSpec
    learner: LearnerConfig
    grpo: GrpoConfig
    device: str  # "cpu" or "cuda"
    weight_transfer: str  # "gloo", "nccl" or "ipc"
    shares_gpus: bool  # whether engines sleep during a step, which discards all their weights
    push_timeout_s: float
    steps: int  # number of steps of the whole run
    max_tokens: int  # longest completion, tokens
    seed: int
    connect: Callable[[str], CommandPort]  # takes the name of the learner session


def train_loop(config: LoopConfig) -> None:
    """Run one learner rank until the controller tells it to stop."""
    import ray.train.torch

    rank = dist.get_rank()
    _seed_everything(config.seed + rank)
    if config.device == "cuda":
        torch.cuda.set_device(ray.train.torch.get_device())
    else:  # Ray sets one thread for a process that reserves a fraction of a CPU
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // dist.get_world_size()))
    policy = DeepSpeedPolicy(
        config.spec,
        config.learner,
        config.grpo,
        device=config.device,
        reference_path=config.spec.path,
        total_steps=config.steps,
        max_tokens=config.max_tokens,
        shares_gpus=config.shares_gpus,
    )
    checkpoint = ray.train.get_checkpoint()
    step, cursor = restore_checkpoint(policy, checkpoint) if checkpoint is not None else (0, 0)
    port = config.connect(_session_name())
    port.joined(rank)
    if rank == 0:
        port.begin(step, cursor)
    dist.barrier()  # no rank asks for commands before the session has begun
    logger.info("learner rank %d of %d is ready at step %d", rank, dist.get_world_size(), step)
    pusher = Pusher(
        policy.weights,
        backend=config.weight_transfer,
        timeout_s=config.push_timeout_s,
        trained_only=not config.shares_gpus,
    )
    try:
        carry_out_commands(
            policy,
            port,
            push=lambda command: pusher.push(command.workers, command.policy_version),
            save=lambda command: save_checkpoint(policy, command),
        )
    finally:
        pusher.close()
    logger.info("learner rank %d ends", rank)


def carry_out_commands(
    policy: UpdatedPolicy,
    port: CommandPort,
    *,
    push: Callable[[Push], str | None],
    save: Callable[[Save], None],
) -> None:
    """Carry out one command after another until the port gives Stop.

    Args:
        push: carries out a push; returns None, or the reason why it failed.
        save: writes a checkpoint.
    """
    number = 0
    while not isinstance(command := port.command(number), Stop):
        report = _carry_out(command, policy, push, save)
        if policy.rank == 0:
            logger.info("%s took %.2f s", _describe(command), report.seconds)
        if policy.rank == 0 or report.parity_failure is not None:
            port.report(number, report)
        number += 1
    if policy.rank == 0:
        port.report(number, CommandReport())


def _carry_out(
    command: Push | Train | Save,
    policy: UpdatedPolicy,
    push: Callable[[Push], str | None],
    save: Callable[[Save], None],
) -> CommandReport:
    """Carry out one command and return what to report."""
    started = time.perf_counter()
    failure: str | None = None
    metrics: dict[str, float] = {}
    parity_failure: ParityFailure | None = None
    try:
        match command:
            case Train():
                metrics = policy.update(command.groups, step=command.step)
            case Push():
                failure = push(command)
            case Save():
                save(command)
    except ParityError as error:
        parity_failure = ParityFailure(str(error), error.sample)
    return CommandReport(failure, metrics, time.perf_counter() - started, parity_failure)


def _describe(command: Push | Train | Save) -> str:
    match command:
        case Train():
            return f"step {command.step} on {len(command.groups)} groups"
        case Push():
            return f"push of version {command.policy_version} to {len(command.workers)} rollout workers"
        case Save():
            return f"checkpoint after step {command.step}"


def _session_name() -> str:
    """Return a random name for this start of the learner group, the same on all ranks."""
    name = torch.tensor(list(uuid.uuid4().bytes))
    dist.broadcast(name, src=0)
    return bytes(name.tolist()).hex()


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
