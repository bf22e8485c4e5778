"""Tests that our algorithms equal those of the papers and of public trainers, which are written again here.

The papers' objectives are written as loops over numbers, and ours are configured as `GrpoConfig` says. The trainers'
losses are written with padded tensors and masks, as in their code, so that gradients are compared too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor

from learner.algorithm.advantages import batch_advantages, group_advantages
from learner.config import GrpoConfig
from tests.unit.learner.flat_batches import MAX_TOKENS, FlatBatch, random_batch

SEEDS = range(4)
REWARDS = (
    (1.0, 0.0, 0.0, 1.0),
    (0.2, 0.4, 0.9, 0.4),
    (0.3, 0.1 + 0.2, 0.3, 0.3),
)  # the last group has no spread


# --- the papers, in loops --------------------------------------------------------------------------


@dataclass(frozen=True)
class LoopCompletion:
    """One completion: its logprobs per token, its reward, and all rewards of its group."""

    new: list[float]
    old: list[float]
    ref: list[float]
    reward: float
    group: list[float]

    @property
    def ratios(self) -> list[float]:
        return [math.exp(new - old) for new, old in zip(self.new, self.old, strict=True)]

    @property
    def centred(self) -> float:
        return 0.0 if max(self.group) - min(self.group) < 1e-9 else self.reward - fmean(self.group)

    @property
    def standardised(self) -> float:
        return 0.0 if self.centred == 0 else self.centred / (stdev(self.group) + 1e-6)

    def kl(self) -> list[float]:
        return [math.exp(ref - new) - (ref - new) - 1 for new, ref in zip(self.new, self.ref, strict=True)]


def clip(ratio: float, advantage: float, low: float, high: float) -> float:
    return min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


def videossr(batch: list[LoopCompletion]) -> float:
    """Return GRPO's terms averaged over all tokens, with a KL weight of 0.001."""
    terms = []
    for one in batch:
        clipped = [clip(ratio, one.standardised, 0.2, 0.2) for ratio in one.ratios]
        terms += [term - 0.001 * kl for term, kl in zip(clipped, one.kl(), strict=True)]
    return fmean(terms)


def grpo(batch: list[LoopCompletion]) -> float:
    """Return arXiv 2402.03300, eq. 3: the mean over completions of the mean over tokens, beta 0.04."""
    means = []
    for one in batch:
        clipped = [clip(ratio, one.standardised, 0.2, 0.2) for ratio in one.ratios]
        means.append(fmean(term - 0.04 * kl for term, kl in zip(clipped, one.kl(), strict=True)))
    return fmean(means)


def dr_grpo(batch: list[LoopCompletion]) -> float:
    """Return arXiv 2503.20783: no std and no length; sums over tokens, divided by the token budget."""
    return fmean(sum(clip(r, one.centred, 0.2, 0.2) for r in one.ratios) / MAX_TOKENS for one in batch)


def dapo(batch: list[LoopCompletion]) -> float:
    """Return arXiv 2503.14476, eq. 8: all tokens weigh the same, a higher clip above, no KL."""
    return fmean(clip(ratio, one.standardised, 0.2, 0.28) for one in batch for ratio in one.ratios)


def dapo_reward(reward: float, length: int) -> float:
    """Return the reward by eq. 13 of DAPO, with L_max = 7 and L_cache = 3."""
    if length <= 4:
        return reward
    return reward + (4 - length) / 3


def gspo(batch: list[LoopCompletion]) -> float:
    """Return arXiv 2507.18071, eq. 5 to 7: one ratio per completion, the geometric mean of its tokens' ratios."""
    return fmean(
        clip(math.prod(one.ratios) ** (1 / len(one.new)), one.standardised, 3e-4, 4e-4) for one in batch
    )


Shape = Callable[[float, int], float]


def plain_reward(reward: float, length: int) -> float:
    return reward


@dataclass(frozen=True)
class Scored:
    """The parts of a scored group that advantages are computed from."""

    task: str
    rewards: tuple[float, ...]
    lengths: tuple[int, ...]
    truncated: tuple[bool, ...]


def groups_of(batch: FlatBatch) -> list[Scored]:
    lengths = batch.lengths.view(len(REWARDS), -1).tolist()
    return [Scored("jigsaw", *row, (False,) * 4) for row in zip(REWARDS, map(tuple, lengths), strict=True)]


def completions_of(batch: FlatBatch, shape: Shape) -> list[LoopCompletion]:
    per_token = [
        [row.tolist() for row in values.detach().split(batch.lengths.tolist())]
        for values in (batch.logprobs, batch.old_logprobs, batch.ref_logprobs)
    ]
    made = []
    for index, (new, old, ref) in enumerate(zip(*per_token, strict=True)):
        group = index // 4
        lengths = batch.lengths[4 * group : 4 * group + 4].tolist()
        shaped = [shape(reward, length) for reward, length in zip(REWARDS[group], lengths, strict=True)]
        made.append(LoopCompletion(new, old, ref, shaped[index % 4], shaped))
    return made


def with_advantages(batch: FlatBatch, config: GrpoConfig, **more: Any) -> FlatBatch:
    found = batch_advantages(groups_of(batch), config, max_tokens=MAX_TOKENS, **more)
    return replace(batch, advantages=torch.tensor(found, dtype=torch.float64).flatten())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("paper", "shape", "settings"),
    [
        (videossr, plain_reward, {}),
        (grpo, plain_reward, {"aggregation": "sequence", "kl_coef": 0.04}),
        (dr_grpo, plain_reward, {"advantage": "dr_grpo", "aggregation": "constant", "kl_coef": 0}),
        (dapo, dapo_reward, {"clip_high": 0.28, "overlong": {"buffer_tokens": 3}, "kl_coef": 0}),
        (
            gspo,
            plain_reward,
            {
                "ratio": "sequence",
                "aggregation": "sequence",
                "clip_low": 3e-4,
                "clip_high": 4e-4,
                "kl_coef": 0,
            },
        ),
    ],
    ids=["videossr", "grpo", "dr_grpo", "dapo", "gspo"],
)
def test_the_loss_is_that_of_the_paper(
    paper: Callable[[list[LoopCompletion]], float], shape: Shape, settings: dict[str, Any], seed: int
) -> None:
    config = GrpoConfig.model_validate(settings)
    batch = random_batch(seed, num_sequences=12)
    loss, _ = with_advantages(batch, config).loss(config, batch.totals, with_reference=config.kl_coef > 0)
    assert loss.item() == pytest.approx(-paper(completions_of(batch, shape)), rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_gradient_is_that_of_rloo(seed: int) -> None:
    """In arXiv 2402.14740, on policy, a completion's logprob has weight reward - mean of the other rewards.

    Beta times log(policy / reference) of the whole completion is subtracted from its reward.
    """
    config = GrpoConfig(
        advantage="rloo", aggregation="constant", kl_in="reward", kl_estimator="k1", kl_coef=0.1
    )
    batch = random_batch(seed, num_sequences=12)
    batch = replace(batch, old_logprobs=batch.logprobs.detach())
    whole, reference = (batch.padded(v).sum(1).view(3, 4) for v in (batch.logprobs, batch.ref_logprobs))
    reward = torch.tensor(REWARDS, dtype=torch.float64) - 0.1 * (whole.detach() - reference)
    better = torch.stack(
        [reward[:, i] - reward[:, [j for j in range(4) if j != i]].mean(1) for i in range(4)], 1
    )
    (expected,) = torch.autograd.grad(-(better * whole).mean(), batch.logprobs)

    log_ratio = (whole.detach() - reference).tolist()
    loss, _ = with_advantages(batch, config, completion_kl=log_ratio).loss(config, batch.totals)
    (found,) = torch.autograd.grad(loss, batch.logprobs)
    # dividing by a token budget only scales the learning rate
    torch.testing.assert_close(found * MAX_TOKENS, expected, rtol=1e-9, atol=1e-12)


# --- the trainers, padded --------------------------------------------------------------------------


@dataclass(frozen=True)
class Padded:
    """A batch in the trainers' form: [num_completions, MAX_TOKENS], where `mask` is 1.0 for tokens."""

    new: Tensor
    old: Tensor
    rollout: Tensor
    ref: Tensor
    entropy: Tensor
    mask: Tensor
    advantages: Tensor  # [num_completions, 1]


def pad(batch: FlatBatch) -> Padded:
    return Padded(
        new=batch.padded(batch.logprobs),
        old=batch.padded(batch.old_logprobs),
        rollout=batch.padded(batch.rollout_logprobs),
        ref=batch.padded(batch.ref_logprobs),
        entropy=batch.padded(batch.entropy),
        mask=batch.padded(torch.ones_like(batch.logprobs)),
        advantages=batch.advantages.unsqueeze(1),
    )


def assert_same(batch: FlatBatch, config: GrpoConfig, theirs: Tensor) -> None:
    """Assert the same loss, and the same gradient by logprobs and entropy."""
    ours, _ = batch.loss(config, batch.totals)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    leaves = (batch.logprobs, batch.entropy)
    for found, expected in zip(
        torch.autograd.grad(ours, leaves, allow_unused=True, materialize_grads=True),
        torch.autograd.grad(theirs, leaves, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def trl_loss(
    batch: Padded, *, loss_type: str, level: str, correction: str, beta: float, cap: float
) -> Tensor:
    """Return TRL's loss: the importance correction, then k3 without correction, then one of three normalisations."""
    log_ratio = batch.new - batch.old
    if level == "sequence":
        log_ratio = ((log_ratio * batch.mask).sum(1) / batch.mask.sum(1).clamp(min=1)).unsqueeze(1)
    free, held = log_ratio.exp(), log_ratio.exp().clamp(1 - 0.2, 1 + 0.28)
    loss = -torch.min(free * batch.advantages, held * batch.advantages)
    mismatch = (batch.old - batch.rollout) * batch.mask
    if correction == "sequence":
        mismatch = mismatch.sum(1, keepdim=True)
    if correction != "none":
        loss = loss * mismatch.exp().clamp(max=cap)
    loss = loss + beta * ((batch.ref - batch.new).exp() - (batch.ref - batch.new) - 1)
    if loss_type == "grpo":
        return ((loss * batch.mask).sum(1) / batch.mask.sum(1).clamp(min=1)).mean()
    if loss_type == "dr_grpo":
        return (loss * batch.mask).sum() / (len(loss) * MAX_TOKENS)
    return (loss * batch.mask).sum() / batch.mask.sum()  # dapo


@pytest.mark.parametrize("correction", ["none", "token", "sequence"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(
    ("loss_type", "aggregation"), [("dapo", "token"), ("grpo", "sequence"), ("dr_grpo", "constant")]
)
def test_loss_and_gradient_are_those_of_trl(
    loss_type: str, aggregation: str, level: str, correction: str
) -> None:
    settings = {"ratio": level, "aggregation": aggregation, "importance": correction}
    config = GrpoConfig.model_validate(settings | {"clip_high": 0.28, "kl_coef": 0.04, "importance_cap": 3.0})
    for seed in SEEDS:
        batch = random_batch(seed, stale=0.8)
        theirs = trl_loss(
            pad(batch), loss_type=loss_type, level=level, correction=correction, beta=0.04, cap=3.0
        )
        assert_same(batch, config, theirs)


def verl_loss(batch: Padded, *, level: str, aggregate: str, cap: float | None) -> Tensor:
    """Return verl's loss, which aggregates its terms one by one.

    It includes verl's clamps and its dual clip at 3, which change no number here. The gradient of verl's sequence ratio
    flows through each token alone.
    """

    def mean(values: Tensor) -> Tensor:
        if aggregate == "token-mean":
            return (values * batch.mask).sum() / batch.mask.sum()
        return ((values * batch.mask).sum(1) / batch.mask.sum(1)).mean()  # seq-mean-token-mean

    log_ratio = (batch.new - batch.old).clamp(-20, 20)
    if level == "sequence":
        whole = ((batch.new - batch.old) * batch.mask).sum(1, keepdim=True) / batch.mask.sum(1, keepdim=True)
        log_ratio = (batch.new - batch.new.detach() + whole.detach()).clamp(max=10)
    ratio = log_ratio.exp()
    loss = torch.maximum(-batch.advantages * ratio, -batch.advantages * ratio.clamp(1 - 0.2, 1 + 0.2))
    if level == "token":
        twice = torch.min(-batch.advantages * 3.0, loss)
        loss = torch.where(batch.advantages < 0, twice, loss)
    if cap is not None:
        loss = loss * ((batch.old - batch.rollout) * batch.mask).exp().clamp(max=cap)
    low_variance_kl = (batch.ref - batch.new).exp() - (batch.ref - batch.new) - 1
    return mean(loss) + 0.001 * mean(low_variance_kl.clamp(-10, 10)) - 0.01 * mean(batch.entropy)


@pytest.mark.parametrize(
    ("level", "correction"),
    # With a sequence ratio, verl and TRL treat a token's importance weight differently in the gradient. Ours is TRL's.
    [("token", "none"), ("token", "token"), ("sequence", "none")],
)
@pytest.mark.parametrize(
    ("aggregate", "aggregation"), [("token-mean", "token"), ("seq-mean-token-mean", "sequence")]
)
def test_loss_and_gradient_are_those_of_verl(
    aggregate: str, aggregation: str, level: str, correction: str
) -> None:
    settings = {"ratio": level, "aggregation": aggregation, "importance": correction, "entropy_coef": 0.01}
    for seed in SEEDS:
        batch = random_batch(seed, drift=0.3)
        # Above this, the dual clip would act.
        assert (batch.logprobs - batch.old_logprobs).max() < math.log(3)
        theirs = verl_loss(
            pad(batch), level=level, aggregate=aggregate, cap=2.0 if correction == "token" else None
        )
        assert_same(batch, GrpoConfig.model_validate(settings), theirs)


def openrlhf_loss(batch: Padded) -> Tensor:
    """Return OpenRLHF's loss: clips at 0.2, a token mean over the optimiser step, the KL in the reward."""
    ratio = (batch.new - batch.old).exp()
    loss = -torch.min(ratio * batch.advantages, ratio.clamp(0.8, 1.2) * batch.advantages)
    return (loss * batch.mask).sum() / batch.mask.sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_loss_and_gradient_are_those_of_openrlhf(seed: int) -> None:
    """The KL is in the reward, with k1. The estimators are leave-one-out and the group's mean without std."""
    batch = random_batch(seed, num_sequences=12)
    padded = pad(batch)
    k1 = ((padded.old - padded.ref) * padded.mask).sum(1).view(3, 4)
    rewards = torch.tensor(REWARDS, dtype=torch.float64) - 0.01 * k1
    by_estimator = {
        "rloo": rewards - (rewards.sum(1, keepdim=True) - rewards) / 3,
        "dr_grpo": rewards - rewards.mean(1, keepdim=True),
    }
    for estimator, advantages in by_estimator.items():
        config = GrpoConfig.model_validate(
            {"advantage": estimator, "kl_in": "reward", "kl_estimator": "k1", "kl_coef": 0.01}
        )
        ours = with_advantages(batch, config, completion_kl=k1.tolist())
        torch.testing.assert_close(ours.advantages, advantages.flatten(), rtol=1e-12, atol=1e-12)
        assert_same(ours, config, openrlhf_loss(replace(padded, advantages=advantages.view(12, 1))))


# --- advantages of the trainers --------------------------------------------------------------------


def trainers_advantages(rewards: Tensor, epsilon: float) -> Tensor:
    """Return the trainers' advantages: (reward - mean) / (sample std + epsilon)."""
    return (rewards - rewards.mean()) / (rewards.std() + epsilon)


@pytest.mark.parametrize(("trainer", "epsilon"), [("trl", 1e-4), ("verl", 1e-6), ("openrlhf", 1e-9)])
def test_advantages_differ_from_the_trainers_only_by_epsilon(trainer: str, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (2, 4, 8):
        rewards = torch.rand(size, generator=generator, dtype=torch.float64)
        ours = torch.tensor(group_advantages(rewards.tolist(), tolerance=1e-6, estimator="grpo")).double()
        std = rewards.std()
        theirs = trainers_advantages(rewards, epsilon) * (std + epsilon) / (std + 1e-6)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_rounding_residue_gives_advantages_in_the_trainers_and_none_here() -> None:
    """Eight rewards of 0.7, one higher by the last bit of a float32, as another order of summation leaves it."""
    nudged = torch.full((8,), 0.7)
    nudged[0] = torch.nextafter(nudged[0], torch.tensor(1.0))
    theirs = trainers_advantages(nudged, 1e-9)
    assert theirs[0] > 0.9
    assert group_advantages(nudged.tolist(), tolerance=1e-6, estimator="grpo") == [0.0] * 8
