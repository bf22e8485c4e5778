"""The sections of the configuration that the controller, the evaluation and the reward workers read."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from vocabulary.over_http import OverHttp


class TrainConfig(BaseModel, extra="forbid", frozen=True):
    """Section `train`: how many steps a run takes, and what it keeps of them."""

    steps: Annotated[int, OverHttp(largest=100_000)] = Field(
        468, ge=1, description="number of steps of the whole run"
    )
    prompts_per_step: Annotated[int, OverHttp(largest=1024)] = Field(
        64, ge=1, description="number of prompts, and so of groups, in one step"
    )
    max_staleness: Annotated[Literal[0, 1], OverHttp(largest=1)] = Field(
        0,
        description="0: every step trains on completions of the newest weights; 1: on completions of the weights "
        "before, which are generated while the learner trains",
    )
    checkpoint_every: Annotated[int, OverHttp(largest=100_000)] = Field(
        20, ge=1, description="number of steps between two checkpoints"
    )
    keep_checkpoints: Annotated[int, OverHttp(largest=10)] = Field(
        2,
        ge=1,
        description="number of checkpoints kept: those with the highest held-out scores, without scores the newest; "
        "the last one is always kept",
    )
    recorded_groups: Annotated[int, OverHttp(largest=64)] = Field(
        4, ge=0, description="number of groups per step, and of held-out samples per task, recorded in full"
    )


class EvaluationConfig(BaseModel, extra="forbid", frozen=True):
    """Section `evaluation`: which held-out samples a run evaluates, and when."""

    samples_per_task: Annotated[int, OverHttp(largest=5_000)] = Field(
        200, ge=0, description="number of held-out samples per task, always the same ones; 0: no evaluation"
    )
    every: Annotated[int, OverHttp(largest=100_000)] = Field(
        0,
        ge=0,
        description="also evaluate after every so many steps, each time with a checkpoint; 0: only before the first "
        "step and after the last",
    )
    sampled_completions: Annotated[int, OverHttp(largest=64)] = Field(
        4, ge=1, description="number of completions per sample for the sampled score"
    )

    def is_due(self, step: int) -> bool:
        """Return whether to evaluate the weights after `step` steps, leaving aside the first and last evaluation."""
        return self.samples_per_task > 0 and self.every > 0 and step > 0 and step % self.every == 0


class RewardConfig(BaseModel, extra="forbid", frozen=True):
    """Section `reward`: how completions are scored."""

    function: Annotated[str | None, OverHttp(closed="it names code")] = Field(
        None,
        description="package.module:name of your own reward function, which takes (task, text, truth) and returns a "
        "number from 0 to 1 within 30 s; null: the rules of the tasks",
    )
