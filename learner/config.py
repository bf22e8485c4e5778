"""What can be chosen about the update."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from vocabulary.over_http import OverHttp

# Logits are made of this many tokens at a time: of a vocabulary of 152 000, 0.6 GB in float32.
LOGIT_TOKENS = 1024

Positive = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class OverlongConfig(BaseModel):
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): long answers cost reward before they are cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    buffer_tokens: Annotated[int, OverHttp(largest=32_768)] = Field(
        0, ge=0, description="the punishment grows over the last this many of rollout.max_tokens; 0: none"
    )
    penalty: Annotated[NotNegative, OverHttp(largest=1000)] = Field(
        1.0, description="reward that a completion of rollout.max_tokens loses"
    )


class DifficultyConfig(BaseModel):
    """Weights for what is hard, as VITAL's DGRPO has them; see learner.algorithm.advantages.difficulty_weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_exponent: Annotated[NotNegative, OverHttp(largest=100)] = Field(
        0.0, description="weight of a group: 1 - its mean reward, to this power; 0: all alike"
    )
    task_exponent: Annotated[NotNegative, OverHttp(largest=100)] = Field(
        0.0, description="weight of a task: 1 - its mean reward in the batch, to this power; 0: all alike"
    )


class GrpoConfig(BaseModel):
    """The algorithm. Defaults are VideoSSR's: GRPO with token-mean, one update per batch and a little k3.

    What has a name elsewhere is written with these switches:

        GRPO, published  aggregation: sequence · kl_coef: 0.04
        Dr. GRPO         advantage: dr_grpo · aggregation: constant · kl_coef: 0
        DAPO             clip_high: 0.28 · max_refills: 3 · overlong: {buffer_tokens: a fifth of max_tokens} ·
                         kl_coef: 0
        GSPO             ratio: sequence · aggregation: sequence · clip_low: 3e-4 · clip_high: 4e-4 · kl_coef: 0
        RLOO             advantage: rloo · aggregation: constant · kl_in: reward · kl_estimator: k1
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_size: Annotated[int, OverHttp(largest=64)] = Field(
        8, ge=2, description="completions per prompt; advantages compare within them"
    )
    advantage: Annotated[Literal["grpo", "dr_grpo", "rloo"], OverHttp(choice=True)] = Field(
        "grpo", description="reward - mean over std · reward - mean · reward - mean of the others"
    )
    ratio: Annotated[Literal["token", "sequence"], OverHttp(choice=True)] = Field(
        "token", description="of new to old probability: each token's own, or one per completion (GSPO)"
    )
    aggregation: Annotated[Literal["token", "sequence", "constant"], OverHttp(choice=True)] = Field(
        "token",
        description="the loss is a mean over tokens, over completions' means, or over max_tokens each",
    )
    clip_low: Annotated[float, OverHttp(largest=1)] = Field(
        0.2, gt=0, lt=1, description="probability ratio is clipped below at 1 - this"
    )
    clip_high: Annotated[Finite, OverHttp(largest=1000)] = Field(
        0.2, gt=0, description="probability ratio is clipped above at 1 + this"
    )
    kl_coef: Annotated[NotNegative, OverHttp(largest=1000)] = Field(
        0.001, description="weight of the KL to the start policy; 0: none, and no reference is loaded"
    )
    kl_in: Annotated[Literal["loss", "reward"], OverHttp(choice=True)] = Field(
        "loss", description="the KL is a term of the loss, or is taken off a completion's reward"
    )
    kl_estimator: Annotated[Literal["k1", "k2", "k3"], OverHttp(choice=True)] = "k3"
    entropy_coef: Annotated[NotNegative, OverHttp(largest=1000)] = Field(
        0.0, description="weight of the entropy bonus"
    )
    reward_tolerance: Annotated[float, OverHttp(largest=1)] = Field(
        1e-6, ge=0, description="a group whose rewards differ by no more than this has advantage 0"
    )
    updates_per_batch: Annotated[Positive, OverHttp(largest=64)] = Field(
        1, description="optimiser steps per batch of rollouts"
    )
    importance: Annotated[Literal["none", "token", "sequence"], OverHttp(choice=True)] = Field(
        "none", description="weights for rollouts of an older policy: none, of each token, of a completion"
    )
    importance_cap: Annotated[Finite, OverHttp(largest=1000)] = Field(
        2.0, ge=1, description="an importance weight is no larger than this"
    )
    mask_truncated: Annotated[bool, OverHttp(choice=True)] = Field(
        False, description="completions cut at max_tokens train nothing; their group still compares with them"
    )
    overlong: OverlongConfig = OverlongConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    max_refills: Annotated[int, OverHttp(largest=20)] = Field(
        0,
        ge=0,
        description="extra batches of prompts drawn in a step to replace groups without spread (DAPO)",
    )
    task_weights: Annotated[dict[str, NotNegative], OverHttp(largest_by_task=1000)] = Field(
        {}, description="what a task's advantages are multiplied by; 1 for a task that is not named"
    )

    @field_validator("kl_estimator")
    @classmethod
    def _a_kl_that_trains(cls, estimator: str, info: ValidationInfo) -> str:
        if estimator == "k1" and info.data.get("kl_in") == "loss" and info.data.get("kl_coef", 0) > 0:
            raise ValueError(
                "the expected gradient of k1 as a loss is 0: it would add noise and hold nothing back. Set "
                "grpo.kl_estimator to k2 or k3, or grpo.kl_in to reward."
            )
        return estimator

    @property
    def kl_in_reward(self) -> bool:
        """Whether advantages need the completions' KL, so the reference's pass comes before them."""
        return self.kl_in == "reward" and self.kl_coef > 0


class ScheduleConfig(BaseModel):
    """How the learning rate goes over a run; see learner.algorithm.schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[Literal["constant", "cosine"], OverHttp(choice=True)] = "constant"
    warmup_steps: Annotated[int, OverHttp(largest=100_000)] = Field(
        0, ge=0, description="steps over which the rate rises linearly"
    )
    min_ratio: Annotated[float, OverHttp(largest=1)] = Field(
        0.0, ge=0, le=1, description="share of the rate that a cosine falls to"
    )


class LoraConfig(BaseModel):
    """Low-rank adapters (arXiv 2106.09685) on the language model's linear layers; all else is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: Annotated[Positive, OverHttp(largest=512)] = 16
    alpha: Annotated[Finite, OverHttp(largest=10_000)] = Field(
        32.0, gt=0, description="the adapter's output is scaled by alpha / rank"
    )
    layers: Annotated[tuple[Literal["attention", "mlp"], ...], OverHttp(choice=True)] = Field(
        ("attention", "mlp"), min_length=1
    )


class LearnerConfig(BaseModel):
    """The learner group: how many ranks, how DeepSpeed shards, how the optimiser steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_workers: Annotated[Positive, OverHttp(largest=64)] = Field(
        1, description="ranks; one GPU each on GPUs"
    )
    zero_stage: Annotated[Literal[1, 2, 3], OverHttp(largest=3)] = Field(
        2, description="what DeepSpeed shards over ranks"
    )
    offload: Annotated[Literal["none", "optimizer", "all"], OverHttp(choice=True)] = Field(
        "none", description="what DeepSpeed keeps in CPU memory; all: parameters too (zero_stage 3)"
    )
    dtype: Annotated[Literal["float32", "bfloat16"], OverHttp(choice=True)] = "bfloat16"
    shared_prefix: Annotated[bool, OverHttp(choice=True)] = Field(
        True, description="compute a prompt once for all its completions"
    )
    attention: Annotated[Literal["sdpa", "flex", "flash_attention_2", "eager"], OverHttp(choice=True)] = (
        Field("sdpa", description="sdpa or flex; the others only without shared_prefix")
    )
    gradient_checkpointing: Annotated[bool, OverHttp(choice=True)] = True
    max_micro_batch_tokens: Annotated[Positive, OverHttp(largest=262_144)] = Field(
        16384, description="prompts and completions in one forward and backward of a rank"
    )
    freeze_vision: Annotated[bool, OverHttp(choice=True)] = Field(
        False, description="train the language model alone"
    )
    lora: LoraConfig | None = Field(None, description="train low-rank adapters instead of the weights")
    learning_rate: Annotated[Finite, OverHttp(largest=1)] = Field(
        1e-6, gt=0, description="the default is for whole weights; adapters want 1e-5 to 1e-4"
    )
    schedule: ScheduleConfig = ScheduleConfig()
    adam_betas: Annotated[tuple[Beta, Beta], OverHttp(largest=1)] = (0.9, 0.999)
    weight_decay: Annotated[float, OverHttp(largest=1000)] = Field(0.0, ge=0)
    max_grad_norm: Annotated[float, OverHttp(largest=1e6)] = Field(
        1.0, gt=0, description="gradients are scaled down to this norm"
    )
    max_logprob_gap: Annotated[float | None, OverHttp(largest=1000)] = Field(
        None, gt=0, description="the run stops where engine and learner differ by more on any token, in nats"
    )
    max_restarts: Annotated[int, OverHttp(largest=100)] = Field(
        3, ge=0, description="times the group is restarted from its last checkpoint"
    )

    @property
    def trains_in_part(self) -> bool:
        """Whether parameters stay the start model's: they are neither saved nor pushed."""
        return self.freeze_vision or self.lora is not None

    @field_validator("offload")
    @classmethod
    def _sharded_before_offloaded(cls, offload: str, info: ValidationInfo) -> str:
        if offload == "all" and info.data.get("zero_stage", 3) != 3:
            raise ValueError(
                "parameters can be offloaded with zero_stage=3 only. Use optimizer, or zero_stage=3"
            )
        return offload

    @field_validator("attention")
    @classmethod
    def _attention_that_shares(cls, attention: str, info: ValidationInfo) -> str:
        shared = info.data.get("shared_prefix", True)
        if shared and attention not in ("sdpa", "flex"):
            raise ValueError("it cannot share a prompt. Use sdpa or flex, or set shared_prefix=false")
        if not shared and attention == "flex":
            raise ValueError("flex is for shared_prefix=true. Use sdpa or flash_attention_2")
        return attention


class WarmupConfig(BaseModel):
    """How the warm-up steps and when it ends. The defaults suit the tiny model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form_learning_rate: Annotated[float, OverHttp(largest=1)] = Field(1.5e-3, gt=0)
    right_learning_rate: Annotated[float, OverHttp(largest=1)] = Field(
        1e-3, gt=0, description="lower, not to run past the target"
    )
    adam_betas: Annotated[tuple[float, float], OverHttp(largest=1)] = (0.9, 0.95)
    max_grad_norm: Annotated[float, OverHttp(largest=1e6)] = Field(
        1.0, gt=0, description="gradients are scaled down to this norm"
    )
    form_prompts: Annotated[int, OverHttp(largest=512)] = Field(
        16, ge=1, description="prompts in one step of the first phase"
    )
    form_answers: Annotated[int, OverHttp(largest=64)] = Field(
        8, ge=1, description="answers that each of them is given, of other samples"
    )
    right_samples: Annotated[int, OverHttp(largest=2048)] = Field(
        64, ge=1, description="samples in one step of the second phase"
    )
    catch_up: Annotated[float, OverHttp(largest=100)] = Field(
        4.0, ge=1, description="weight in a batch of a task below its target, beside 1 of one that is there"
    )
    target_validity: Annotated[float, OverHttp(largest=1)] = Field(
        0.9, ge=0, le=1, description="share of sampled answers of the right form"
    )
    target_score: Annotated[float, OverHttp(largest=1)] = Field(
        0.45, ge=0, le=1, description="mean score of sampled answers, of every task"
    )
    eval_every: Annotated[int, OverHttp(largest=20_000)] = Field(
        8, ge=1, description="steps from one look at the scores to the next"
    )
    max_steps: Annotated[int, OverHttp(largest=20_000)] = Field(
        600, ge=1, description="it ends there even if the targets are not reached"
    )
    max_answer_tokens: Annotated[int, OverHttp(largest=1024)] = Field(
        12, ge=2, description="a sampled answer is cut there"
    )
