"""Tests of learner.algorithm.metrics: sums by hand, and the names in the catalogue of metrics."""

import pytest
import torch

from learner.algorithm.metrics import add_sums, update_metrics
from vocabulary.metrics import METRICS

SUMS = {
    "compared_tokens": 8.0,
    "tokens": 4.0,
    "loss": 3.0,
    "entropy": 2.0,
    "kl": 1.0,
    "clipped_low": 1.0,
    "clipped_high": 2.0,
    "importance": 6.0,
    "logprob_gap": 0.4,
    "logprob_gap_k3": 0.8,
    "max_logprob_gap": 0.3,
}


def test_sums_add_up_and_maxima_are_kept() -> None:
    total: dict[str, torch.Tensor] = {}
    for loss, gap in ((1.0, 0.5), (2.0, 0.25)):
        add_sums(total, {"loss": torch.tensor(loss), "max_logprob_gap": torch.tensor(gap)})
    assert {name: value.item() for name, value in total.items()} == {"loss": 3.0, "max_logprob_gap": 0.5}


def test_metrics_by_hand() -> None:
    found = update_metrics(SUMS, updates_per_batch=2, grad_norm=0.7, learning_rate=1e-6)
    assert found == pytest.approx(
        {
            "policy/kl": 0.25,
            "policy/loss": 1.5,
            "policy/entropy": 0.5,
            "policy/clip_low_share": 0.25,
            "policy/clip_high_share": 0.5,
            "policy/importance": 1.5,
            "policy/grad_norm": 0.7,
            "policy/learning_rate": 1e-6,
            "policy/logprob_gap_mean": 0.05,
            "policy/logprob_gap_max": 0.3,
            "policy/logprob_gap_k3": 0.1,
            "policy/tokens": 4.0,
        }
    )


def test_without_a_reference_there_is_no_kl_metric() -> None:
    sums = {name: value for name, value in SUMS.items() if name != "kl"}
    assert "policy/kl" not in update_metrics(sums, updates_per_batch=1, grad_norm=1.0, learning_rate=1.0)


def test_a_batch_without_trained_tokens_has_finite_metrics() -> None:
    found = update_metrics(SUMS | {"tokens": 0.0}, updates_per_batch=1, grad_norm=1.0, learning_rate=1.0)
    assert found["policy/tokens"] == 1.0


def test_the_catalogue_has_exactly_these_policy_metrics() -> None:
    found = update_metrics(SUMS, updates_per_batch=1, grad_norm=1.0, learning_rate=1.0)
    assert set(found) == {metric.name for metric in METRICS if metric.name.startswith("policy/")}
