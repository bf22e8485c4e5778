"""What can be chosen about the update."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class GrpoConfig(BaseModel):
    """The algorithm. Defaults are VideoSSR's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_size: int = Field(8, ge=2, description="completions per prompt; advantages compare within them")
    clip_low: float = Field(0.2, gt=0, lt=1, description="probability ratio is clipped below at 1 - this")
    clip_high: float = Field(0.2, gt=0, description="probability ratio is clipped above at 1 + this")
    kl_coef: float = Field(
        0.001, ge=0, description="weight of the k3 KL to the start policy; 0: no reference"
    )
    reward_tolerance: float = Field(
        1e-6, ge=0, description="a group whose rewards differ by no more than this has advantage 0"
    )
    updates_per_batch: Positive = Field(1, description="optimiser steps per batch of rollouts")


class LearnerConfig(BaseModel):
    """The learner group: how many ranks, how DeepSpeed shards, how the optimiser steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_workers: Positive = Field(1, description="ranks; one GPU each on GPUs")
    zero_stage: Literal[1, 2, 3] = Field(2, description="what DeepSpeed shards over ranks")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: Literal["sdpa", "flash_attention_2", "eager"] = "sdpa"
    gradient_checkpointing: bool = True
    shared_prefix: bool = Field(
        False, description="compute a prompt once for all its completions; needs gradient_checkpointing=false"
    )
    micro_batch_size: Positive = Field(8, description="completions in one forward and backward of a rank")
    learning_rate: float = Field(1e-6, gt=0)
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    max_restarts: int = Field(3, ge=0, description="times the group is restarted from its last checkpoint")


class WarmupConfig(BaseModel):
    """How the warm-up steps and when it ends. The defaults suit the tiny model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form_learning_rate: float = Field(1.5e-3, gt=0)
    right_learning_rate: float = Field(1e-3, gt=0, description="lower, not to run past the target")
    adam_betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    form_prompts: int = Field(16, ge=1, description="prompts in one step of the first phase")
    form_answers: int = Field(8, ge=1, description="answers that each of them is given, of other samples")
    right_samples: int = Field(64, ge=1, description="samples in one step of the second phase")
    catch_up: float = Field(
        4.0, ge=1, description="weight in a batch of a task below its target, beside 1 of one that is there"
    )
    target_validity: float = Field(0.9, ge=0, le=1, description="share of sampled answers of the right form")
    target_score: float = Field(0.45, ge=0, le=1, description="mean score of sampled answers, of every task")
    eval_every: int = Field(8, ge=1, description="steps from one look at the scores to the next")
    max_steps: int = Field(600, ge=1, description="it ends there even if the targets are not reached")
    max_answer_tokens: int = Field(12, ge=2, description="a sampled answer is cut there")
