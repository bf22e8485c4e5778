"""`learner.loss`: by hand, against a slow loop, and split every way."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from learner.loss import clipped_loss, k3, token_logprobs

NOTHING_FORBIDDEN = torch.tensor([], dtype=torch.int64)


def one_token_loss(ratio: float, advantage: float) -> tuple[float, float, float]:
    """(loss, its gradient by the logprob, clipped tokens) of a single token under clips of 0.2 and 0.28."""
    logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, sums = clipped_loss(
        logprobs,
        torch.zeros(1, 1),
        torch.tensor([advantage]),
        torch.ones(1, 1),
        ref_logprobs=None,
        clip_low=0.2,
        clip_high=0.28,
        kl_coef=0.0,
        normaliser=1.0,
    )
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), logprobs.grad.item(), sums["clipped"].item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, 0),  # on policy: the policy gradient
        (1.1, 2.0, -2.2, -2.2, 0),
        (1.5, 2.0, -2.56, 0.0, 1),  # a good token already likelier: held at 1.28
        (1.5, -2.0, 3.0, 3.0, 0),  # a bad one likelier: pushed back with all its weight
        (0.5, 2.0, -1.0, -1.0, 0),  # a good one rarer: pulled up
        (0.5, -2.0, 1.6, 0.0, 1),  # a bad one already rarer: held at 0.8
        (1.5, 0.0, 0.0, 0.0, 0),
    ],
)
def test_one_token_by_hand(
    ratio: float, advantage: float, loss: float, gradient: float, clipped: int
) -> None:
    assert one_token_loss(ratio, advantage) == pytest.approx((loss, gradient, clipped), abs=1e-6)


def test_k3_by_hand() -> None:
    half, quarter = math.log(0.5), math.log(0.25)
    found = k3(torch.tensor([half, quarter, half]), torch.tensor([quarter, half, half]))
    # r = 1/2: 0.5 - 1 + ln 2.  r = 2: 2 - 1 - ln 2.  r = 1: 0.
    assert found.tolist() == pytest.approx([math.log(2) - 0.5, 1 - math.log(2), 0.0], abs=1e-6)


def test_the_kl_term_is_added_and_pulls_towards_the_reference() -> None:
    logprobs = torch.tensor([[math.log(0.5)]], requires_grad=True)
    loss, sums = clipped_loss(
        logprobs,
        logprobs.detach(),
        torch.zeros(1),
        torch.ones(1, 1),
        ref_logprobs=torch.tensor([[math.log(0.25)]]),
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.1,
        normaliser=1.0,
    )
    loss.backward()
    assert loss.item() == pytest.approx(0.1 * (math.log(2) - 0.5), abs=1e-7)
    assert sums["kl"].item() == pytest.approx(math.log(2) - 0.5, abs=1e-6)
    # d k3 / d logprob = 1 - r = 0.5: descending makes the token rarer, as the reference has it.
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(0.05, abs=1e-7)


def test_mask_and_normaliser_by_hand() -> None:
    # Two completions of 2 and 1 tokens, ratio 1 everywhere: -(1 + 1) + 0.5 = -1.5, over 3 tokens.
    logprobs = torch.full((2, 2), -1.0, requires_grad=True)
    loss, sums = clipped_loss(
        logprobs,
        logprobs.detach(),
        torch.tensor([1.0, -0.5]),
        torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
        ref_logprobs=None,
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.0,
        normaliser=3.0,
    )
    loss.backward()
    assert loss.item() == pytest.approx(-0.5)
    assert sums["kl"].item() == 0
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-1 / 3, -1 / 3], [1 / 6, 0.0]]))


def random_batch(seed: int) -> dict[str, Tensor]:
    """6 completions of up to 5 tokens, off policy enough that both clips act; padding holds nonsense."""
    generator = torch.Generator().manual_seed(seed)
    shape = (6, 5)
    old = -3 * torch.rand(shape, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([5, 1, 3, 4, 2, 5])
    return {
        "logprobs": old + 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64),
        "old_logprobs": old,
        "ref_logprobs": old + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64),
        "advantages": torch.randn(6, generator=generator, dtype=torch.float64),
        "mask": (torch.arange(5) < lengths.unsqueeze(1)).double(),
    }


def loss_of(batch: dict[str, Tensor], rows: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    part = {name: value[list(rows)] for name, value in batch.items()}
    return clipped_loss(
        part["logprobs"],
        part["old_logprobs"],
        part["advantages"],
        part["mask"],
        ref_logprobs=part["ref_logprobs"],
        clip_low=0.2,
        clip_high=0.28,
        kl_coef=0.05,
        normaliser=20.0,
    )


def slow_loss(batch: dict[str, Tensor]) -> tuple[float, int, float]:
    """(loss, clipped tokens, KL) token by token, in the words of the papers."""
    loss, clipped, divergence = 0.0, 0, 0.0
    for row in range(6):
        advantage = batch["advantages"][row].item()
        for column in range(5):
            if not batch["mask"][row, column]:
                continue
            logprob = batch["logprobs"][row, column].item()
            ratio = math.exp(logprob - batch["old_logprobs"][row, column].item())
            held = min(max(ratio, 0.8), 1.28)
            objective = min(ratio * advantage, held * advantage)
            clipped += objective != ratio * advantage
            reference = math.exp(batch["ref_logprobs"][row, column].item() - logprob)
            kl = reference - 1 - math.log(reference)
            divergence += kl
            loss += -objective + 0.05 * kl
    return loss / 20, clipped, divergence


@pytest.mark.parametrize("seed", range(5))
def test_random_batches_against_the_slow_loop(seed: int) -> None:
    batch = random_batch(seed)
    loss, sums = loss_of(batch, range(6))
    expected, clipped, divergence = slow_loss(batch)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert sums["kl"].item() == pytest.approx(divergence, rel=1e-12)
    assert sums["clipped"].item() == clipped
    assert 0 < clipped < 20  # or the test would show nothing


@pytest.mark.parametrize("split", [[[0, 1, 2, 3, 4, 5]], [[0, 1], [2, 3], [4, 5]], [[5], [0, 2, 4, 1], [3]]])
def test_any_split_adds_up_to_the_whole(split: list[list[int]]) -> None:
    batch = random_batch(0)
    leaf = batch["logprobs"].requires_grad_(True)
    (whole,) = torch.autograd.grad(loss_of(batch, range(6))[0], leaf)
    total = torch.zeros((), dtype=torch.float64)
    gradient = torch.zeros_like(leaf)
    for rows in split:
        loss, _ = loss_of(batch, rows)
        total += loss.detach()
        gradient += torch.autograd.grad(loss, leaf)[0]
    assert total.item() == pytest.approx(loss_of(batch, range(6))[0].item(), rel=1e-12)
    torch.testing.assert_close(gradient, whole, rtol=1e-12, atol=1e-15)


def test_padding_counts_for_nothing_whatever_stands_there() -> None:
    batch = random_batch(1)
    before, sums = loss_of(batch, range(6))
    for name in ("logprobs", "old_logprobs", "ref_logprobs"):
        batch[name] = torch.where(batch["mask"] > 0, batch[name], torch.full_like(batch[name], -7.0))
    after, sums_after = loss_of(batch, range(6))
    assert after.item() == pytest.approx(before.item(), rel=1e-12)
    assert sums_after["kl"].item() == pytest.approx(sums["kl"].item(), rel=1e-12)


# --- logprobs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "weights"),
    [
        (1.0, (1, 2, 5)),
        (0.5, (1, 4, 25)),  # a temperature of 1/2 squares the odds
        (2.0, (1, math.sqrt(2), math.sqrt(5))),
    ],
)
def test_logprobs_and_entropy_by_hand(temperature: float, weights: tuple[float, ...]) -> None:
    logits = torch.log(torch.tensor([1.0, 2.0, 100.0, 5.0])).expand(1, 3, 4)  # id 2 would win if it could
    logprobs, entropy = token_logprobs(
        logits, torch.tensor([[0, 1, 3]]), temperature=temperature, forbidden=torch.tensor([2])
    )
    probabilities = [weight / sum(weights) for weight in weights]
    assert logprobs[0].tolist() == pytest.approx([math.log(p) for p in probabilities], abs=1e-6)
    assert entropy[0].tolist() == pytest.approx([-sum(p * math.log(p) for p in probabilities)] * 3, abs=1e-6)


def test_random_logits_against_a_plain_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 7, 50, generator=generator)
    forbidden = [3, 48, 49]
    allowed = [id for id in range(50) if id not in forbidden]
    ids = torch.tensor(allowed)[torch.randint(len(allowed), (3, 7), generator=generator)]
    logprobs, entropy = token_logprobs(logits, ids, temperature=0.7, forbidden=torch.tensor(forbidden))
    for row in range(3):
        for column in range(7):
            scaled = [math.exp(logits[row, column, id].item() / 0.7) for id in allowed]
            probabilities = [value / sum(scaled) for value in scaled]
            chosen = probabilities[allowed.index(int(ids[row, column]))]
            assert logprobs[row, column].item() == pytest.approx(math.log(chosen), abs=1e-5)
            slow_entropy = -sum(p * math.log(p) for p in probabilities)
            assert entropy[row, column].item() == pytest.approx(slow_entropy, abs=1e-5)


def test_gradients_are_finite_and_none_reaches_a_forbidden_token() -> None:
    logits = torch.tensor([[[3.0, -200.0, 0.5, 90.0]]], requires_grad=True)
    logprobs, entropy = token_logprobs(
        logits, torch.tensor([[0]]), temperature=1.0, forbidden=torch.tensor([1, 3])
    )
    logprobs.sum().backward()
    assert not entropy.requires_grad
    assert entropy.isfinite().all()
    share = math.exp(3) / (math.exp(3) + math.exp(0.5))
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == pytest.approx([1 - share, 0, share - 1, 0], abs=1e-6)


def test_entropy_is_finite_where_one_token_has_all_the_probability() -> None:
    logits = torch.tensor([[[0.0, -1e4, -1e4]]])
    _, entropy = token_logprobs(logits, torch.tensor([[0]]), temperature=0.01, forbidden=torch.tensor([2]))
    assert entropy.item() == 0


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    logits = torch.randn(1, 2, 300, generator=torch.Generator().manual_seed(1)).bfloat16()
    ids = torch.tensor([[5, 7]])
    found, _ = token_logprobs(logits, ids, temperature=1.0, forbidden=NOTHING_FORBIDDEN)
    exact, _ = token_logprobs(logits.float(), ids, temperature=1.0, forbidden=NOTHING_FORBIDDEN)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)
