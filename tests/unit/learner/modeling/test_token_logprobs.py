"""`learner.algorithm.loss.token_logprobs`: by hand, against a plain softmax, by finite differences, and its memory."""

import math

import pytest
import torch
from torch import Tensor

import learner.algorithm.loss
from learner.algorithm.loss import policy_loss, token_logprobs
from learner.config import GrpoConfig


def read(
    logits: Tensor,
    ids: list[int],
    *,
    temperature: float = 1.0,
    forbidden: tuple[int, ...] = (),
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    return token_logprobs(
        logits,
        torch.tensor(ids),
        temperature=temperature,
        forbidden=torch.tensor(forbidden, dtype=torch.int64),
        entropy_grad=entropy_grad,
    )


@pytest.mark.parametrize(
    ("temperature", "weights"),
    [
        (1.0, (1, 2, 5)),
        (0.5, (1, 4, 25)),  # a temperature of 1/2 squares the odds
        (2.0, (1, math.sqrt(2), math.sqrt(5))),
    ],
)
def test_logprobs_and_entropy_by_hand(temperature: float, weights: tuple[float, ...]) -> None:
    logits = torch.log(torch.tensor([1.0, 2.0, 100.0, 5.0])).expand(3, 4)  # id 2 is forbidden
    logprobs, entropy = read(logits, [0, 1, 3], temperature=temperature, forbidden=(2,))
    probabilities = [weight / sum(weights) for weight in weights]
    assert logprobs.tolist() == pytest.approx([math.log(p) for p in probabilities], abs=1e-6)
    assert entropy.tolist() == pytest.approx([-sum(p * math.log(p) for p in probabilities)] * 3, abs=1e-6)


def test_random_logits_against_a_plain_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(21, 50, generator=generator)
    allowed = [id for id in range(50) if id not in (3, 48, 49)]
    ids = torch.tensor(allowed)[torch.randint(len(allowed), (21,), generator=generator)].tolist()
    logprobs, entropy = read(logits, ids, temperature=0.7, forbidden=(3, 48, 49))
    for row in range(21):
        scaled = [math.exp(logits[row, id].item() / 0.7) for id in allowed]
        probabilities = [value / sum(scaled) for value in scaled]
        assert logprobs[row].item() == pytest.approx(
            math.log(probabilities[allowed.index(ids[row])]), abs=1e-5
        )
        slow_entropy = -sum(p * math.log(p) for p in probabilities)
        assert entropy[row].item() == pytest.approx(slow_entropy, abs=1e-5)


def random_logits(seed: int, rows: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, 9, generator=generator, dtype=torch.float64)).requires_grad_(True)


@pytest.mark.parametrize("forbidden", [(), (2, 7)])
def test_gradients_of_logprobs_and_entropy_equal_finite_differences(forbidden: tuple[int, ...]) -> None:
    def both(logits: Tensor) -> tuple[Tensor, Tensor]:
        return read(logits, [0, 1, 3, 8, 4], temperature=0.8, forbidden=forbidden, entropy_grad=True)

    assert torch.autograd.gradcheck(both, (random_logits(0),))


def test_logprobs_without_entropy_have_the_gradient_of_a_plain_softmax() -> None:
    logits = random_logits(1)
    logprobs, entropy = read(logits, [0, 1, 3, 8, 4])
    assert not entropy.requires_grad
    (found,) = torch.autograd.grad(logprobs.square().sum(), logits)
    plain = logits.log_softmax(-1).gather(-1, torch.tensor([[0], [1], [3], [8], [4]]))
    (expected,) = torch.autograd.grad(plain.square().sum(), logits)
    torch.testing.assert_close(found, expected)


def test_computing_some_rows_at_a_time_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = random_logits(2, rows=7)

    def everything() -> tuple[Tensor, ...]:
        both = read(logits, [0, 1, 3, 8, 4, 4, 5], temperature=0.9, forbidden=(2,), entropy_grad=True)
        return *both, *torch.autograd.grad((both[0] * both[1]).sum(), logits)

    whole = everything()
    for rows in (1, 2, 3):
        monkeypatch.setattr(learner.algorithm.loss, "_CHUNK_LOGITS", 9 * rows + 1)
        for found, expected in zip(everything(), whole, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_no_tensor_of_the_logits_size_is_kept_except_the_logits() -> None:
    logits = torch.randn(64, 300).bfloat16().requires_grad_(True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        read(logits, [0] * 64, entropy_grad=True)
    large = [tensor for tensor in kept if tensor.numel() >= logits.numel()]
    assert [tensor.data_ptr() for tensor in large] == [logits.data_ptr()]


def test_the_logits_are_not_changed() -> None:
    logits = torch.randn(2, 5)
    before = logits.clone()
    read(logits, [0, 1], temperature=0.5, forbidden=(3,))
    assert torch.equal(logits, before)


def test_gradients_are_finite_and_0_for_forbidden_tokens() -> None:
    logits = torch.tensor([[3.0, -200.0, 0.5, 90.0], [-1e4, 0.0, 0.0, 0.0]], requires_grad=True)
    logprobs, entropy = read(logits, [0, 2], forbidden=(1, 3), entropy_grad=True)
    (logprobs.sum() + entropy.sum()).backward()
    assert entropy.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, [1, 3]].any()
    share = math.exp(3) / (math.exp(3) + math.exp(0.5))
    of_entropy = -share * (math.log(share) + entropy[0].item())
    assert logits.grad[0, 0].item() == pytest.approx(1 - share + of_entropy, abs=1e-6)


def test_a_forbidden_token_in_a_filler_does_no_harm() -> None:
    logits = torch.randn(2, 6, requires_grad=True)
    logprobs, entropy = read(logits, [0, 5], forbidden=(5,))
    assert logprobs[1].item() == float("-inf")
    loss, _ = policy_loss(
        logprobs,
        old_logprobs=logprobs.detach(),
        rollout_logprobs=torch.zeros(2),
        ref_logprobs=logprobs.detach(),
        entropy=entropy,
        advantages=torch.ones(2),
        weights=torch.tensor([1.0, 0.0]),
        sequence=torch.tensor([0, 1]),
        num_sequences=2,
        config=GrpoConfig(kl_coef=0.1),
    )
    loss.backward()
    assert loss.item() == pytest.approx(-1)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[1].any()


def test_entropy_is_finite_when_one_token_has_all_the_probability() -> None:
    _, entropy = read(torch.tensor([[0.0, -1e4, -1e4]]), [0], temperature=0.01, forbidden=(2,))
    assert entropy.item() == 0


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    logits = torch.randn(2, 300, generator=torch.Generator().manual_seed(1)).bfloat16()
    found, exact = read(logits, [5, 7])[0], read(logits.float(), [5, 7])[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)
    logits.requires_grad_(True)
    read(logits, [5, 7])[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_an_entropy_bonus_raises_the_entropy() -> None:
    """One gradient step on the logits, with nothing but the bonus in the loss."""
    logits = random_logits(4, rows=3)

    def loss_and_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
        logprobs, entropy = read(logits, [0, 1, 3], entropy_grad=True)
        loss, _ = policy_loss(
            logprobs,
            old_logprobs=logprobs.detach(),
            rollout_logprobs=logprobs.detach(),
            ref_logprobs=None,
            entropy=entropy,
            advantages=torch.zeros(3),
            weights=torch.full((3,), 1 / 3),
            sequence=torch.tensor([0, 0, 1]),
            num_sequences=2,
            config=GrpoConfig(entropy_coef=1.0),
        )
        return loss, entropy

    loss, before = loss_and_entropy(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    _, after = loss_and_entropy(logits.detach() - 0.1 * gradient)
    assert (after > before).all()
