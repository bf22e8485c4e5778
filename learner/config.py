"""The settings of the update: sections `grpo`, `learner` and `warmup` of a run's configuration."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationInfo, field_validator

from vocabulary.over_http import OverHttp
from vocabulary.settings import MayChangeOnResume

# Number of tokens whose logits are computed at a time: 0.6 GB in float32 for a vocabulary of 152 000.
LOGIT_TOKENS = 1024

AdamBeta = Annotated[float, Field(ge=0, lt=1)]


class OverlongConfig(BaseModel, extra="forbid", frozen=True):
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): completions close to the length limit lose reward."""

    buffer_tokens: Annotated[int, OverHttp(largest=32_768)] = Field(
        0,
        ge=0,
        description="the punishment rises from 0 over this many tokens below rollout.max_tokens; 0: no punishment",
    )
    penalty: Annotated[FiniteFloat, OverHttp(largest=1000)] = Field(
        1.0, ge=0, description="reward that a completion of rollout.max_tokens tokens loses"
    )


class DifficultyConfig(BaseModel, extra="forbid", frozen=True):
    """Weights for hard groups and tasks, after VITAL's DGRPO; see learner.algorithm.advantages.difficulty_weights."""

    group_exponent: Annotated[FiniteFloat, OverHttp(largest=100)] = Field(
        0.0,
        ge=0,
        description="a group weighs (1 - its mean reward) to this power; 0: all groups weigh the same",
    )
    task_exponent: Annotated[FiniteFloat, OverHttp(largest=100)] = Field(
        0.0,
        ge=0,
        description="a task weighs (1 - its mean reward in the batch) to this power; 0: all tasks weigh the same",
    )


class GrpoConfig(BaseModel, extra="forbid", frozen=True):
    """The algorithm. The defaults are VideoSSR's: GRPO with a token mean, one update per batch and a small k3 term.

    Published algorithms are combinations of these settings:

        GRPO, published  aggregation: sequence · kl_coef: 0.04
        Dr. GRPO         advantage: dr_grpo · aggregation: constant · kl_coef: 0
        DAPO             clip_high: 0.28 · max_refills: 3 · overlong: {buffer_tokens: a fifth of max_tokens} ·
                         kl_coef: 0
        GSPO             ratio: sequence · aggregation: sequence · clip_low: 3e-4 · clip_high: 4e-4 · kl_coef: 0
        RLOO             advantage: rloo · aggregation: constant · kl_in: reward · kl_estimator: k1
    """

    group_size: Annotated[int, OverHttp(largest=64)] = Field(
        8, ge=2, description="number of completions per prompt, whose rewards are compared with each other"
    )
    advantage: Annotated[Literal["grpo", "dr_grpo", "rloo"], OverHttp(choice=True)] = Field(
        "grpo",
        description="grpo: (reward - mean) / std; dr_grpo: reward - mean; rloo: reward - mean of the other rewards",
    )
    ratio: Annotated[Literal["token", "sequence"], OverHttp(choice=True)] = Field(
        "token", description="ratio of new to old probability: of each token, or one per completion (GSPO)"
    )
    aggregation: Annotated[Literal["token", "sequence", "constant"], OverHttp(choice=True)] = Field(
        "token",
        description="token: mean over all tokens; sequence: mean over completions of their means; constant: every "
        "completion's sum divided by rollout.max_tokens (Dr. GRPO)",
    )
    clip_low: Annotated[float, OverHttp(largest=1)] = Field(
        0.2, gt=0, lt=1, description="lower bound of the probability ratio: 1 - clip_low"
    )
    clip_high: Annotated[FiniteFloat, OverHttp(largest=1000)] = Field(
        0.2, gt=0, description="upper bound of the probability ratio: 1 + clip_high"
    )
    kl_coef: Annotated[FiniteFloat, OverHttp(largest=1000)] = Field(
        0.001,
        ge=0,
        description="weight of the KL to the start policy; 0: no KL, and no reference model is loaded",
    )
    kl_in: Annotated[Literal["loss", "reward"], OverHttp(choice=True)] = Field(
        "loss",
        description="loss: the KL is a term of the loss; reward: it is subtracted from a completion's reward",
    )
    kl_estimator: Annotated[Literal["k1", "k2", "k3"], OverHttp(choice=True)] = Field(
        "k3", description="estimator of the KL: k1, k2 or k3 of http://joschu.net/blog/kl-approx.html"
    )
    entropy_coef: Annotated[FiniteFloat, OverHttp(largest=1000)] = Field(
        0.0, ge=0, description="weight of the entropy bonus"
    )
    reward_tolerance: Annotated[float, OverHttp(largest=1)] = Field(
        1e-6,
        ge=0,
        description="a group whose rewards differ by at most this much has advantages of exactly 0",
    )
    updates_per_batch: Annotated[int, OverHttp(largest=64)] = Field(
        1, ge=1, description="number of optimiser steps on one batch of rollouts"
    )
    importance: Annotated[Literal["none", "token", "sequence"], OverHttp(choice=True)] = Field(
        "none",
        description="importance weights for rollouts of an older policy: none, per token, or per completion",
    )
    importance_cap: Annotated[FiniteFloat, OverHttp(largest=1000)] = Field(
        2.0, ge=1, description="largest importance weight; larger ones are clipped to it"
    )
    mask_truncated: Annotated[bool, OverHttp(choice=True)] = Field(
        False,
        description="completions cut at rollout.max_tokens are not trained; their rewards still count in their group",
    )
    overlong: OverlongConfig = OverlongConfig()
    difficulty: DifficultyConfig = DifficultyConfig()
    max_refills: Annotated[int, OverHttp(largest=20)] = Field(
        0,
        ge=0,
        description="largest number of rounds per step in which groups without spread are replaced by groups of new "
        "prompts (DAPO)",
    )
    task_weights: Annotated[
        dict[str, Annotated[FiniteFloat, Field(ge=0)]], OverHttp(largest_by_task=1000)
    ] = Field({}, description="factor on a task's advantages; 1 for tasks that are not listed")

    @field_validator("kl_estimator")
    @classmethod
    def _kl_has_a_gradient(cls, estimator: str, info: ValidationInfo) -> str:
        if estimator == "k1" and info.data.get("kl_in") == "loss" and info.data.get("kl_coef", 0) > 0:
            raise ValueError(
                "the expected gradient of k1 as a loss is 0: it would only add noise. Set grpo.kl_estimator to k2 or "
                "k3, or grpo.kl_in to reward."
            )
        return estimator

    @property
    def kl_in_reward(self) -> bool:
        """Whether the KL is subtracted from rewards. Then the reference's forward pass precedes the advantages."""
        return self.kl_in == "reward" and self.kl_coef > 0


class ScheduleConfig(BaseModel, extra="forbid", frozen=True):
    """The learning rate over a run, as a factor on `learner.learning_rate`; see learner.algorithm.schedule."""

    kind: Annotated[Literal["constant", "cosine"], OverHttp(choice=True)] = Field(
        "constant", description="course of the learning rate after its warm-up"
    )
    warmup_steps: Annotated[int, OverHttp(largest=100_000)] = Field(
        0, ge=0, description="number of steps over which the learning rate rises linearly"
    )
    min_ratio: Annotated[float, OverHttp(largest=1)] = Field(
        0.0, ge=0, le=1, description="share of the learning rate that a cosine schedule falls to"
    )


class LoraConfig(BaseModel, extra="forbid", frozen=True):
    """Low-rank adapters (arXiv 2106.09685) on the language model's linear layers; all other weights are frozen."""

    rank: Annotated[int, OverHttp(largest=512)] = Field(
        16, ge=1, description="rank of an adapter's two factors"
    )
    alpha: Annotated[FiniteFloat, OverHttp(largest=10_000)] = Field(
        32.0, gt=0, description="the adapter's output is scaled by alpha / rank"
    )
    layers: Annotated[tuple[Literal["attention", "mlp"], ...], OverHttp(choice=True)] = Field(
        ("attention", "mlp"),
        min_length=1,
        description="which linear layers of the language model get adapters",
    )


class LearnerConfig(BaseModel, extra="forbid", frozen=True):
    """The learner: number of ranks, DeepSpeed's sharding, the optimiser."""

    num_workers: Annotated[int, OverHttp(largest=64)] = Field(
        1, ge=1, description="number of learner ranks; each takes one GPU if there are GPUs"
    )
    zero_stage: Annotated[Literal[1, 2, 3], OverHttp(largest=3)] = Field(
        2,
        description="what DeepSpeed shards over ranks: 1 optimiser state, 2 also gradients, 3 also parameters",
    )
    offload: Annotated[Literal["none", "optimizer", "all"], OverHttp(choice=True)] = Field(
        "none",
        description="what DeepSpeed keeps in CPU memory; all: optimiser state and parameters (needs zero_stage=3)",
    )
    dtype: Annotated[Literal["float32", "bfloat16"], OverHttp(choice=True)] = Field(
        "bfloat16", description="precision of the learner's weights in forward and backward; float32 on a CPU"
    )
    shared_prefix: Annotated[bool, OverHttp(choice=True)] = Field(
        True, description="compute each prompt once for all its completions"
    )
    attention: Annotated[Literal["sdpa", "flex", "flash_attention_2", "eager"], OverHttp(choice=True)] = (
        Field("sdpa", description="attention kernel: sdpa or flex; the others need shared_prefix=false")
    )
    gradient_checkpointing: Annotated[bool, OverHttp(choice=True)] = Field(
        True, description="recompute activations in the backward pass: less memory, more time"
    )
    max_micro_batch_tokens: Annotated[int, OverHttp(largest=262_144)] = Field(
        16384,
        ge=1,
        description="largest number of tokens in one forward and backward pass of a rank",
    )
    freeze_vision: Annotated[bool, OverHttp(choice=True)] = Field(
        False, description="train the language model only"
    )
    lora: LoraConfig | None = Field(
        None, description="train low-rank adapters instead of the weights themselves"
    )
    learning_rate: Annotated[FiniteFloat, OverHttp(largest=1)] = Field(
        1e-6, gt=0, description="learning rate; the default suits whole weights, adapters need 1e-5 to 1e-4"
    )
    schedule: ScheduleConfig = ScheduleConfig()
    adam_betas: Annotated[tuple[AdamBeta, AdamBeta], OverHttp(largest=1)] = Field(
        (0.9, 0.999), description="AdamW's two betas"
    )
    weight_decay: Annotated[float, OverHttp(largest=1000)] = Field(
        0.0, ge=0, description="AdamW's weight decay"
    )
    max_grad_norm: Annotated[float, OverHttp(largest=1e6)] = Field(
        1.0, gt=0, description="gradients are scaled down to this norm"
    )
    max_logprob_gap: Annotated[float | None, OverHttp(largest=1000)] = Field(
        None,
        gt=0,
        description="stop the run if engine and learner differ by more nats than this on any token; null: never",
    )
    max_restarts: Annotated[int, OverHttp(largest=100), MayChangeOnResume()] = Field(
        3,
        ge=0,
        description="how many times the learner is restarted from its last checkpoint before the run fails",
    )

    @property
    def trains_in_part(self) -> bool:
        """Whether some parameters are frozen. Frozen parameters are neither saved nor pushed."""
        return self.freeze_vision or self.lora is not None

    @field_validator("offload")
    @classmethod
    def _offload_fits_zero_stage(cls, offload: str, info: ValidationInfo) -> str:
        if offload == "all" and info.data.get("zero_stage", 3) != 3:
            raise ValueError(
                "parameters can be offloaded only with zero_stage=3. Use offload=optimizer, or zero_stage=3"
            )
        return offload

    @field_validator("attention")
    @classmethod
    def _attention_fits_shared_prefix(cls, attention: str, info: ValidationInfo) -> str:
        shared = info.data.get("shared_prefix", True)
        if shared and attention not in ("sdpa", "flex"):
            raise ValueError("cannot share a prompt. Use sdpa or flex, or set shared_prefix=false")
        if not shared and attention == "flex":
            raise ValueError("flex needs shared_prefix=true. Use sdpa or flash_attention_2")
        return attention


class WarmupConfig(BaseModel, extra="forbid", frozen=True):
    """The supervised warm-up of a random model; see learner/warmup.py. The defaults suit the tiny model.

    Its first part (`form_...`) teaches the form of a completion, its second part (`right_...`) the right content.
    """

    form_learning_rate: Annotated[float, OverHttp(largest=1)] = Field(
        1.5e-3, gt=0, description="learning rate while the form is taught"
    )
    right_learning_rate: Annotated[float, OverHttp(largest=1)] = Field(
        1e-3,
        gt=0,
        description="learning rate while the right content is taught; lower, so that scores stay near their target",
    )
    adam_betas: Annotated[tuple[float, float], OverHttp(largest=1)] = Field(
        (0.9, 0.95), description="AdamW's two betas"
    )
    max_grad_norm: Annotated[float, OverHttp(largest=1e6)] = Field(
        1.0, gt=0, description="gradients are scaled down to this norm"
    )
    form_prompts: Annotated[int, OverHttp(largest=512)] = Field(
        16, ge=1, description="number of prompts in one step while the form is taught"
    )
    form_answers: Annotated[int, OverHttp(largest=64)] = Field(
        8,
        ge=1,
        description="number of completions per prompt while the form is taught; they are truths of other samples",
    )
    right_samples: Annotated[int, OverHttp(largest=2048)] = Field(
        64, ge=1, description="number of samples in one step while the right content is taught"
    )
    catch_up: Annotated[float, OverHttp(largest=100)] = Field(
        4.0,
        ge=1,
        description="how many times more samples are drawn of a task below its target than of one that has reached it",
    )
    target_validity: Annotated[float, OverHttp(largest=1)] = Field(
        0.9,
        ge=0,
        le=1,
        description="share of valid completions that every task must reach before the right content is taught",
    )
    target_score: Annotated[float, OverHttp(largest=1)] = Field(
        0.45, ge=0, le=1, description="mean score that every task must reach; then the warm-up ends"
    )
    eval_every: Annotated[int, OverHttp(largest=20_000)] = Field(
        8, ge=1, description="number of steps between evaluations"
    )
    max_steps: Annotated[int, OverHttp(largest=20_000)] = Field(
        600, ge=1, description="number of steps after which the warm-up ends, even if a target is not reached"
    )
    max_answer_tokens: Annotated[int, OverHttp(largest=1024)] = Field(
        12, ge=2, description="longest completion in an evaluation of the warm-up, tokens"
    )
