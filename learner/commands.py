"""The controller's commands to the learner, and the learner's reports.

    controller ── Push · Train · Save · Stop ──► learner ── CommandReport ──► controller

A learner session has one sequence of commands, and every rank gets all of them. The controller gives a command when the
previous one was reported as done. This module imports neither torch nor ray, because the controller imports it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from weight_sync.rollout_client import LiveWorker


class PromptTensors(Protocol):
    """A prompt as the model takes it: rollout.prompt.ModelInput, which the learner does not import."""

    @property
    def token_ids(self) -> npt.NDArray[np.int64]: ...  # [prompt_length]

    @property
    def positions(self) -> npt.NDArray[np.int64]: ...  # [3, prompt_length]

    @property
    def next_position(self) -> int: ...  # position of a completion's first token

    @property
    def patches(self) -> npt.NDArray[np.uint8]: ...  # [num_patches, patch_dim]

    @property
    def grid_thw(self) -> npt.NDArray[np.int64]: ...  # [num_videos, 3]


@dataclass(frozen=True)
class TrainingGroup:
    """One prompt with its n completions and their rewards.

    Every rank receives every group, because planning and counting need the whole batch. Only the rank that trains a
    group fetches its prompt.
    """

    group_id: str
    task: str
    fetch_prompt: Callable[[], PromptTensors]
    prompt_tokens: int
    completions: tuple[tuple[int, ...], ...]  # token ids, end-of-turn token included
    rollout_logprobs: tuple[tuple[float, ...], ...]  # same lengths, from vLLM
    rewards: tuple[float, ...]  # [n]
    truncated: tuple[bool, ...]  # [n], whether the completion ended at the length limit
    policy_version: int  # version of the policy that generated the completions

    @property
    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each completion."""
        return tuple(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class Push:
    """Send the current weights, which are `policy_version`, to these rollout workers."""

    policy_version: int
    workers: tuple[LiveWorker, ...]


@dataclass(frozen=True)
class Train:
    """Take one step on these groups."""

    step: int  # number of the step, from 0
    groups: tuple[TrainingGroup, ...]


@dataclass(frozen=True)
class Save:
    """Write a checkpoint of the current weights, from which a run resumes with step number `step`."""

    step: int
    cursor: int  # number of the training prompt that step `step` begins with
    score: float | None  # held-out score of these weights; None: they were not evaluated


@dataclass(frozen=True)
class Stop:
    """End the session: all steps are done, or the run has failed."""


Command = Push | Train | Save | Stop


@dataclass(frozen=True)
class ParityFailure:
    """A difference between the learner's and the engine's logprobs that is large enough to end the run."""

    message: str  # one line, for the user
    sample: Mapping[str, Any]  # the completion with that difference, as JSON values


@dataclass(frozen=True)
class CommandReport:
    """The learner's report on a command that it has carried out."""

    failure: str | None = None  # why a push failed; None: the command was carried out
    metrics: Mapping[str, float] = field(default_factory=dict)  # of a step
    seconds: float = 0.0  # time that the command took on rank 0
    parity_failure: ParityFailure | None = None
