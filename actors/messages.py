"""What the actors say to each other. Frozen, picklable, without behaviour.

Prompts' frames and patches travel through Ray's object store: messages carry references to them
(`Ref`), so the actor in the middle never holds a video.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from actors.process_info import Place
from pretext.source import Split

Ref = Any  # a ray.ObjectRef in a run; the value itself in tests without Ray
Stage = Literal["before", "during", "after"]


@dataclass(frozen=True)
class PromptMeta:
    """What is known of a prompt besides its pixels."""

    split: Split
    index: int  # number in its split's stream of recipes
    task: str
    question: str  # the text, with [video] where a clip stands
    answer: str  # the true one
    recipe: str  # JSON, from which the frames can be rendered again
    num_tokens: int
    rejected: tuple[str, ...]  # videos that were tried first and could not be read, with the reasons


@dataclass(frozen=True)
class Prompt:
    """One prompt: its description, and references to what engine and learner take."""

    meta: PromptMeta
    engine_input: Ref  # rollout.prompt.EngineInput
    model_input: Ref  # rollout.prompt.ModelInput


@dataclass(frozen=True)
class Score:
    """What a completion earned."""

    reward: float  # in [0, 1]
    valid: bool  # the text has the form of an answer
    error: str = ""  # what was wrong with the user's own reward, which then counts as 0; empty: nothing


@dataclass(frozen=True)
class Rollout:
    """One completion with its reward."""

    rollout_id: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # from vLLM, nats
    text: str
    finish_reason: str
    reward: float  # in [0, 1]
    valid: bool  # the text has the form of an answer
    reward_failed: bool = False  # see Score.error


@dataclass(frozen=True)
class Group:
    """The n rollouts of one prompt, sampled from one version of the policy."""

    group_id: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    policy_version: int


@dataclass(frozen=True)
class EvaluationAnswers:
    """How held-out samples of one task were answered at one point of a run."""

    stage: Stage
    step: int  # steps taken, which is the policy version
    task: str
    greedy: tuple[tuple[float, bool], ...]  # (reward, valid), one per sample
    sampled: tuple[tuple[float, bool], ...]  # (reward, valid), several per sample
    truths: tuple[str, ...]  # the true answers, one per sample
    groups: tuple["Group", ...] = ()  # some of them with their sampled answers, whole


@dataclass(frozen=True)
class Member:
    """A rollout worker in one of its lives: a restarted one is another member."""

    worker: Any  # actor handle
    index: int
    life: str
    num_ranks: int  # engine processes that receive weights


@dataclass(frozen=True)
class WorkerState:
    """How one process of a run is, for people who watch."""

    role: str  # "learner", "rollout", "prompts", "rewards"
    index: int  # within its role
    state: str  # "starting", "running", "lost"
    place: Place | None = None  # None: not known yet
    policy_version: int | None = None  # that it holds
    queue: int | None = None  # prompts that it was given and has not answered
    restarts: int = 0


@dataclass(frozen=True)
class PushOrder:
    """To the learner: send the current weights, which are `policy_version`, to these members."""

    policy_version: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class TrainOrder:
    """To the learner: take one step on these groups. `step` counts from 0."""

    step: int
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class SaveOrder:
    """To the learner: write a checkpoint of the current weights, from which step number `step` is next."""

    step: int
    cursor: int  # number of the training prompt that step `step` begins with
    score: float | None  # held-out score of these weights; None: they were not evaluated


@dataclass(frozen=True)
class StopOrder:
    """To the learner: all steps are done."""


Order = PushOrder | TrainOrder | SaveOrder | StopOrder


@dataclass(frozen=True)
class ParityFailure:
    """The learner's logprobs are too far from the engine's: the run must not go on."""

    message: str  # one line, for the user
    sample: Mapping[str, Any]  # what shows it, as JSON can hold it


@dataclass(frozen=True)
class Report:
    """What the learner says of an order."""

    failure: str | None = None  # of a push, which is tried again; None: carried out
    metrics: Mapping[str, float] = field(default_factory=dict)  # of a step
    seconds: float = 0.0
    parity_failure: ParityFailure | None = None
