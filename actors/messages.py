"""What the actors say to each other. Frozen, picklable, without behaviour.

Prompts' frames and patches travel through Ray's object store: messages carry references to them
(`Ref`), so the actor in the middle never holds a video.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pretext.source import Split

Ref = Any  # a ray.ObjectRef in a run; the value itself in tests without Ray


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
class Rollout:
    """One completion with its reward."""

    rollout_id: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # from vLLM, nats
    text: str
    finish_reason: str
    reward: float  # in [0, 1]
    valid: bool  # the text has the form of an answer


@dataclass(frozen=True)
class Group:
    """The n rollouts of one prompt, sampled from one version of the policy."""

    group_id: str
    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    policy_version: int


@dataclass(frozen=True)
class EvaluationAnswers:
    """How held-out samples of one task were answered at one stage of a run."""

    stage: Literal["before", "after"]
    task: str
    greedy: tuple[tuple[float, bool], ...]  # (reward, valid), one per sample
    sampled: tuple[tuple[float, bool], ...]  # (reward, valid), several per sample
    truths: tuple[str, ...]  # the true answers, one per sample


@dataclass(frozen=True)
class Member:
    """A rollout worker in one of its lives: a restarted one is another member."""

    worker: Any  # actor handle
    index: int
    life: str
    num_ranks: int  # engine processes that receive weights


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
class StopOrder:
    """To the learner: all steps are done."""


Order = PushOrder | TrainOrder | StopOrder
