"""Tests of learner.algorithm.loss: values by hand, enumeration, finite differences and random splits."""

import itertools
import math
import random
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from learner.algorithm.loss import (
    AGGREGATIONS,
    IMPORTANCE,
    KL_ESTIMATES,
    RATIOS,
    BatchTotals,
    logprob_gap,
    policy_loss,
    sum_per_sequence,
    token_weights,
)
from learner.config import GrpoConfig
from tests.unit.learner.flat_batches import FlatBatch, random_batch, without

TWO_AND_ONE = torch.tensor([0, 0, 1])  # a completion of 2 tokens and one of 1


def logs(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def floats(sums: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in sums.items()}


def grpo(**settings: Any) -> GrpoConfig:
    """Return a configuration that has a KL only if `settings` have one."""
    return GrpoConfig.model_validate({"kl_coef": 0.0} | settings)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        (KL_ESTIMATES, "kl_estimator"),
        (RATIOS, "ratio"),
        (IMPORTANCE, "importance"),
        (AGGREGATIONS, "aggregation"),
    ],
)
def test_every_choice_of_the_configuration_exists(table: dict[str, Any], field: str) -> None:
    assert set(table) == set(get_args(GrpoConfig.model_fields[field].annotation))


# --- KL --------------------------------------------------------------------------------------------


def test_kl_estimates_by_hand() -> None:
    policy, reference = logs(0.5, 0.25, 0.5), logs(0.25, 0.5, 0.5)  # r = reference / policy = 1/2, 2, 1
    two = math.log(2)
    assert KL_ESTIMATES["k1"](policy, reference).tolist() == pytest.approx([two, -two, 0])
    assert KL_ESTIMATES["k2"](policy, reference).tolist() == pytest.approx([two**2 / 2, two**2 / 2, 0])
    assert KL_ESTIMATES["k3"](policy, reference).tolist() == pytest.approx([two - 0.5, 1 - two, 0])


@pytest.mark.parametrize(("name", "reverse", "forward"), [("k1", 0, 0), ("k2", 1, 0), ("k3", 0, 1)])
def test_values_and_gradients_of_kl_estimates_by_enumeration(
    name: str, reverse: float, forward: float
) -> None:
    """The expected value and gradient of each estimate are sums over all five tokens of a vocabulary."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    of_policy = (policy.exp() * (policy - reference)).sum()  # KL(policy || reference)
    of_reference = (reference.exp() * (reference - policy)).sum()
    estimate = (policy.exp().detach() * KL_ESTIMATES[name](policy, reference)).sum()
    assert (estimate.item() == pytest.approx(of_policy.item(), rel=1e-9)) == (name != "k2")  # unbiased

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    expected = reverse * gradient(of_policy) + forward * gradient(of_reference)
    torch.testing.assert_close(gradient(estimate), expected, rtol=1e-9, atol=1e-12)


def test_k1_is_refused_in_the_loss() -> None:
    with pytest.raises(ValidationError, match="expected gradient of k1 as a loss is 0") as caught:
        GrpoConfig(kl_estimator="k1")
    assert caught.value.errors()[0]["loc"] == ("kl_estimator",)  # the error names the setting
    assert GrpoConfig(kl_estimator="k1", kl_in="reward").kl_in_reward
    assert not GrpoConfig(kl_estimator="k1", kl_coef=0.0, kl_in="reward").kl_in_reward
    GrpoConfig(kl_estimator="k1", kl_coef=0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"group_size": 1},
        {"clip_low": 1.0},
        {"clip_high": math.inf},
        {"kl_coef": -0.1},
        {"kl_coef": math.nan},
        {"entropy_coef": -1},
        {"importance_cap": 0.9},  # would reduce every weight, not only large ones
        {"max_refills": -1},
        {"task_weights": {"jigsaw": -1}},
        {"overlong": {"buffer_tokens": -1}},
        {"difficulty": {"group_exponent": -1}},
        {"ratio": "word"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GrpoConfig.model_validate(settings)


# --- ratios and clipping ---------------------------------------------------------------------------


def test_ratios_by_hand() -> None:
    log_ratio = logs(2.0, 8.0, 0.5)
    assert RATIOS["token"](log_ratio, TWO_AND_ONE, 2).tolist() == pytest.approx([2, 8, 0.5])
    # 4 is the geometric mean of 2 and 8
    assert RATIOS["sequence"](log_ratio, TWO_AND_ONE, 2).tolist() == pytest.approx([4, 4, 0.5])


def test_the_gradient_of_the_sequence_ratio_is_that_of_the_paper() -> None:
    """In the paper it is s · A · the mean over the completion of the logprobs' gradients."""
    log_ratio = logs(2.0, 8.0, 0.5).requires_grad_(True)
    ratio = RATIOS["sequence"](log_ratio, TWO_AND_ONE, 2)
    per_sequence = torch.stack([ratio[0], ratio[2]])
    (gradient,) = torch.autograd.grad(per_sequence @ torch.tensor([3.0, -1.0]).double(), log_ratio)
    assert gradient.tolist() == pytest.approx([4 * 3 / 2, 4 * 3 / 2, -0.5])


def one_token_loss(ratio: float, advantage: float) -> tuple[float, float, float, float]:
    """Return (loss, gradient by the logprob, clipped below, clipped above) of a token, clipped at 0.2 and 0.28."""
    logprobs = logs(ratio).requires_grad_(True)
    loss, sums = policy_loss(
        logprobs,
        old_logprobs=logs(1.0),
        rollout_logprobs=logs(1.0),
        ref_logprobs=None,
        entropy=None,
        advantages=torch.tensor([advantage]).double(),
        weights=torch.ones(1),
        sequence=torch.zeros(1, dtype=torch.int64),
        num_sequences=1,
        config=grpo(clip_low=0.2, clip_high=0.28),
    )
    loss.backward()
    assert logprobs.grad is not None
    assert set(sums) == {"tokens", "importance", "clipped_low", "clipped_high"}
    return loss.item(), logprobs.grad.item(), sums["clipped_low"].item(), sums["clipped_high"].item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "low", "high"),
    [
        (1.0, 2.0, -2.0, -2.0, 0, 0),  # on policy: the policy gradient
        (1.1, 2.0, -2.2, -2.2, 0, 0),
        (1.5, 2.0, -2.56, 0.0, 0, 1),  # a good token, already more likely: clipped at 1.28
        (1.5, -2.0, 3.0, 3.0, 0, 0),  # a bad token, more likely: pushed back at full weight
        (0.5, 2.0, -1.0, -1.0, 0, 0),  # a good token, less likely: pulled up
        (0.5, -2.0, 1.6, 0.0, 1, 0),  # a bad token, already less likely: clipped at 0.8
        (1.5, 0.0, 0.0, 0.0, 0, 0),
    ],
)
def test_one_token_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float, low: int, high: int
) -> None:
    assert one_token_loss(ratio, advantage) == pytest.approx((loss, gradient, low, high), abs=1e-9)


# --- importance ------------------------------------------------------------------------------------


def test_importance_weights_by_hand() -> None:
    log_ratio = logs(0.5, 3.0, 5.0)
    found = {name: weigh(log_ratio, TWO_AND_ONE, 2, 2.0) for name, weigh in IMPORTANCE.items()}
    assert found["none"].tolist() == [1, 1, 1]
    assert found["token"].tolist() == pytest.approx([0.5, 2, 2])
    assert found["sequence"].tolist() == pytest.approx([1.5, 1.5, 2])


def test_importance_weights_do_not_overflow() -> None:
    found = IMPORTANCE["sequence"](torch.full((3,), 80.0), TWO_AND_ONE, 2, 2.0)
    assert found.tolist() == pytest.approx([2, 2, 2])


def test_importance_multiplies_the_objective_and_not_the_kl() -> None:
    settings = {"kl_coef": 0.1, "importance_cap": 2.0}
    parts = {
        importance: policy_loss(
            logs(0.5),
            old_logprobs=logs(0.5),
            rollout_logprobs=logs(0.3),
            ref_logprobs=logs(0.25),
            entropy=None,
            advantages=torch.ones(1).double(),
            weights=torch.ones(1),
            sequence=torch.zeros(1, dtype=torch.int64),
            num_sequences=1,
            config=grpo(importance=importance, **settings),
        )
        for importance in ("none", "token")
    }
    kl = 0.1 * (math.log(2) - 0.5)
    assert parts["none"][0].item() == pytest.approx(-1 + kl)
    assert parts["token"][0].item() == pytest.approx(-5 / 3 + kl)
    assert parts["token"][1]["importance"].item() == pytest.approx(5 / 3)


@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_on_policy_importance_weighs_the_policy_gradient(importance: str) -> None:
    """With one update per batch the old logprobs are the current ones, so only the ratio has a gradient."""
    batch = random_batch(0)
    batch = replace(batch, old_logprobs=batch.logprobs.detach())
    loss, _ = batch.loss(grpo(importance=importance), batch.totals)
    (gradient,) = torch.autograd.grad(loss, batch.logprobs)
    staleness = batch.old_logprobs - batch.rollout_logprobs
    weigh = IMPORTANCE[importance](staleness, batch.sequence, len(batch.lengths), 2.0)
    expected = -weigh * batch.advantages[batch.sequence] / batch.totals.num_tokens
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


# --- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("token", [1 / 20, 1 / 20, 1 / 20]),
        ("sequence", [1 / (2 * 8), 1 / (2 * 8), 1 / (1 * 8)]),
        ("constant", [1 / (8 * 16)] * 3),
    ],
)
def test_token_weights_by_hand(aggregation: str, expected: list[float]) -> None:
    lengths, totals = torch.tensor([2, 1]), BatchTotals(num_tokens=20, num_sequences=8, max_tokens=16)
    trained = torch.tensor([True, True])
    found = token_weights(lengths, TWO_AND_ONE, trained, totals, aggregation=aggregation)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    trained = torch.tensor([True, False])
    found = token_weights(lengths, TWO_AND_ONE, trained, totals, aggregation=aggregation)
    assert found.tolist() == pytest.approx([*expected[:2], 0], rel=1e-12)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_a_batch_without_trained_completions_has_loss_0(aggregation: str) -> None:
    batch = without(random_batch(0), range(6))
    assert batch.totals == BatchTotals(0, 0, 7)
    loss, sums = batch.loss(grpo(aggregation=aggregation, kl_coef=0.1, entropy_coef=0.1), batch.totals)
    assert loss.item() == 0
    assert {value.item() for value in sums.values()} == {0}
    assert not torch.autograd.grad(loss, batch.logprobs)[
        0
    ].any()  # the loss has a graph, since every rank runs its backward pass


# --- the whole loss --------------------------------------------------------------------------------


def test_two_completions_by_hand() -> None:
    # Ratio 1 everywhere, advantages 1 and -0.5: -(1 + 1) + 0.5 over 3 tokens.
    logprobs = logs(0.5, 0.5, 0.5).requires_grad_(True)
    loss, sums = policy_loss(
        logprobs,
        old_logprobs=logprobs.detach(),
        rollout_logprobs=logprobs.detach(),
        ref_logprobs=logs(0.25, 0.5, 1.0),
        entropy=logs(2, 4, 8),
        advantages=torch.tensor([1.0, 1.0, -0.5]).double(),
        weights=torch.full((3,), 1 / 3).double(),
        sequence=TWO_AND_ONE,
        num_sequences=2,
        config=grpo(kl_coef=0.3, entropy_coef=0.01),
    )
    kl = (math.log(2) - 0.5) + 0 + (1 - math.log(2))
    entropy = 6 * math.log(2)
    assert loss.item() == pytest.approx((-1.5 + 0.3 * kl - 0.01 * entropy) / 3)
    assert floats(sums) == pytest.approx(
        {"tokens": 3, "importance": 3, "clipped_low": 0, "clipped_high": 0, "kl": kl, "entropy": entropy}
    )
    loss.backward()
    assert logprobs.grad is not None
    # d k3 / d logprob = 1 - r: a descent makes a token less likely if the reference has it less likely.
    expected = [(-1 + 0.3 * 0.5) / 3, -1 / 3, (0.5 + 0.3 * -1) / 3]
    assert logprobs.grad.tolist() == pytest.approx(expected)


def test_a_kl_in_the_reward_is_only_measured_in_the_loss() -> None:
    batch = random_batch(0)
    plain, _ = batch.loss(grpo(), batch.totals, with_reference=False)
    loss, sums = batch.loss(grpo(kl_coef=0.5, kl_in="reward", kl_estimator="k1"), batch.totals)
    assert loss.item() == plain.item()
    k3 = KL_ESTIMATES["k3"](batch.logprobs, batch.ref_logprobs).sum()
    assert sums["kl"].item() == pytest.approx(k3.item(), rel=1e-12)


def test_clip_counts_are_of_tokens_where_clipping_acts() -> None:
    batch = random_batch(0, num_sequences=40)
    _, sums = batch.loss(grpo(clip_low=0.1, clip_high=0.3), batch.totals)
    ratio, advantages = (batch.logprobs - batch.old_logprobs).exp(), batch.advantages[batch.sequence]
    low = int(((ratio < 0.9) & (advantages < 0)).sum())
    high = int(((ratio > 1.3) & (advantages > 0)).sum())
    assert low > high > 5  # otherwise the test would show nothing
    assert (sums["clipped_low"].item(), sums["clipped_high"].item()) == (low, high)


EVERY_WAY = [
    {"aggregation": aggregation, "ratio": ratio, "importance": importance, "kl_estimator": estimator}
    for (aggregation, ratio, importance), estimator in zip(
        itertools.product(sorted(AGGREGATIONS), sorted(RATIOS), sorted(IMPORTANCE)),
        itertools.cycle(["k2", "k3"]),
        strict=False,
    )
]


def split_at_random(seed: int, num: int) -> list[list[int]]:
    """Return the numbers below `num`, in random order, in up to `num` lists."""
    rng = random.Random(seed)
    order = rng.sample(range(num), num)
    cuts = sorted(rng.sample(range(1, num), rng.randrange(num)))
    return [order[start:end] for start, end in itertools.pairwise([0, *cuts, num])]


@pytest.mark.parametrize("settings", EVERY_WAY, ids=lambda settings: "-".join(settings.values()))
def test_any_split_adds_up_to_the_whole(settings: dict[str, str]) -> None:
    config = grpo(kl_coef=0.05, entropy_coef=0.02, clip_high=0.28, **settings)
    for seed in range(8):
        batch = random_batch(seed, num_sequences=9)
        batch = without(batch, [8]) if seed % 2 else batch
        leaves = (batch.logprobs, batch.entropy)
        whole, whole_sums = batch.loss(config, batch.totals)
        expected = torch.autograd.grad(whole, leaves, retain_graph=True)
        loss = 0.0
        found = [torch.zeros_like(leaf) for leaf in leaves]
        sums = dict.fromkeys(whole_sums, 0.0)
        for rows in split_at_random(seed, 9):
            part, part_sums = batch.part(rows).loss(config, batch.totals)
            loss += part.item()
            for total, gradient in zip(
                found, torch.autograd.grad(part, leaves, retain_graph=True), strict=True
            ):
                total += gradient
            sums = {name: sums[name] + value for name, value in floats(part_sums).items()}
        assert loss == pytest.approx(whole.item(), rel=1e-10)
        assert sums == pytest.approx(floats(whole_sums), rel=1e-10)
        for gradient, other in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("settings", EVERY_WAY, ids=lambda settings: "-".join(settings.values()))
def test_masked_tokens_add_nothing_even_if_they_are_nan(settings: dict[str, str]) -> None:
    config = grpo(kl_coef=0.05, entropy_coef=0.02, **settings)
    batch = random_batch(1)
    batch = replace(batch, logprobs=batch.logprobs.detach(), entropy=batch.entropy.detach())
    leaf = without(batch, [1, 4]).logprobs.requires_grad_(True)  # NaN where masked
    masked = replace(without(batch, [1, 4]), logprobs=leaf)
    loss, sums = masked.loss(config, masked.totals)
    kept = batch.part([0, 2, 3, 5])
    alone, alone_sums = kept.loss(config, kept.totals)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-12)
    assert floats(sums) == pytest.approx(floats(alone_sums), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert gradient.isfinite().all()
    assert not gradient[~masked.trained[masked.sequence]].any()


@pytest.mark.parametrize("ratio", sorted(RATIOS))
def test_the_gradient_equals_finite_differences(ratio: str) -> None:
    config = grpo(ratio=ratio, aggregation="sequence", importance="sequence", kl_coef=0.1, entropy_coef=0.1)
    batch = random_batch(2)

    def loss(logprobs: Tensor, entropy: Tensor) -> Tensor:
        return replace(batch, logprobs=logprobs, entropy=entropy).loss(config, batch.totals)[0]

    assert torch.autograd.gradcheck(loss, (batch.logprobs, batch.entropy))


def test_a_float32_loss_stays_float32() -> None:
    batch = random_batch(0)
    single = FlatBatch(
        **{name: value.float() if value.is_floating_point() else value for name, value in vars(batch).items()}
    )
    loss, sums = single.loss(grpo(kl_coef=0.1, entropy_coef=0.1), single.totals)
    assert {loss.dtype, *(value.dtype for value in sums.values())} == {torch.float32}
    assert loss.item() == pytest.approx(
        batch.loss(grpo(kl_coef=0.1, entropy_coef=0.1), batch.totals)[0].item(), rel=1e-5
    )


def test_sums_per_sequence_by_hand() -> None:
    assert sum_per_sequence(torch.tensor([1.0, 2.0, 4.0]), TWO_AND_ONE, 3).tolist() == [3, 4, 0]


# --- the gap between engine and learner ------------------------------------------------------------


def test_the_logprob_gap_by_hand() -> None:
    gap = logprob_gap(
        torch.tensor([-1.0, -2.0, float("nan")]),
        torch.tensor([-1.5, -1.75, -3.0]),
        torch.tensor([True, True, False]),
    )
    assert gap["logprob_gap"].item() == pytest.approx(0.75)
    assert gap["max_logprob_gap"].item() == pytest.approx(0.5)
    # r = learner / rollout, tokens are the rollout's: e^0.5 - 1 - 0.5 and e^-0.25 - 1 + 0.25
    assert gap["logprob_gap_k3"].item() == pytest.approx(math.exp(0.5) - 1.5 + math.exp(-0.25) - 0.75)


def test_a_gap_of_nan_stays_nan() -> None:
    gap = logprob_gap(
        torch.tensor([-1.0, float("nan")]), torch.tensor([-1.0, -2.0]), torch.tensor([True, True])
    )
    assert gap["max_logprob_gap"].isnan()


def test_without_tokens_the_gap_is_0() -> None:
    nothing = torch.zeros(0)
    assert [value.item() for value in logprob_gap(nothing, nothing, nothing.bool()).values()] == [0, 0, 0]
