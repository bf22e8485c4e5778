"""The data that actors exchange: frozen, picklable, without behaviour.

Frames and patches of prompts stay in Ray's object store. Messages hold references to them (`Ref`), so the controller
never holds a video. What the controller tells the learner is in `learner/commands.py`.
"""

from dataclasses import dataclass
from typing import Any

from actors.process_info import ProcessInfo
from pretext.recipe import Recipe
from pretext.source import Split
from vocabulary.stages import EvaluationPoint
from vocabulary.workers import Liveness, WorkerRole

Ref = Any  # a ray.ObjectRef in a run; the value itself in tests without Ray


@dataclass(frozen=True)
class PromptMeta:
    """Everything about a prompt except its pixels."""

    split: Split
    index: int  # number in its split's stream of recipes
    task: str
    question: str  # the text, with [video] in place of each clip
    truth: str
    recipe: Recipe  # from which the frames can be rendered again
    num_tokens: int
    skipped: tuple[str, ...]  # unreadable videos that were tried before this one, each with the reason


@dataclass(frozen=True)
class Prompt:
    """A prompt's description, and references to what the engine and the learner take."""

    meta: PromptMeta
    engine_input: Ref  # rollout.prompt.EngineInput
    model_input: Ref  # rollout.prompt.ModelInput


@dataclass(frozen=True)
class Score:
    """The result of scoring one completion."""

    reward: float  # in [0, 1]
    valid: bool  # whether the text has the form that the task asks for
    error: str = ""  # error of the user's own reward function, which then counts as 0; empty: no error


@dataclass(frozen=True)
class Rollout:
    """One completion with its reward."""

    rollout_id: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # from vLLM, nats
    text: str
    finish_reason: str  # "stop" or "length"
    reward: float  # in [0, 1]
    valid: bool  # whether the text has the form that the task asks for
    reward_failed: bool = False  # whether the user's own reward function failed


@dataclass(frozen=True)
class Group:
    """The n rollouts of one prompt, all from one version of the policy."""

    group_id: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    policy_version: int


@dataclass(frozen=True)
class TaskEvaluation:
    """The results on the held-out samples of one task at one point of a run."""

    point: EvaluationPoint
    step: int  # number of steps taken, which is the policy version
    task: str
    greedy: tuple[tuple[float, bool], ...]  # (reward, valid), one per sample
    sampled: tuple[tuple[float, bool], ...]  # (reward, valid), several per sample
    truths: tuple[str, ...]  # one per sample
    groups: tuple[Group, ...] = ()  # a few samples with all their sampled completions


@dataclass(frozen=True)
class WorkerState:
    """The state of one process of a run, for the page and the metrics."""

    role: WorkerRole
    index: int  # number within its role
    state: Liveness
    process: ProcessInfo | None = None  # None: not known yet
    policy_version: int | None = None  # version that it holds; None for workers without weights
    queue: int | None = None  # number of prompts that it is generating for
    restarts: int = 0
