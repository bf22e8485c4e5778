"""Tests of evaluation.metrics, against values computed by hand."""

from evaluation.metrics import stage_scores


def test_stage_scores_are_means_and_validity_counts_sampled_completions() -> None:
    found = stage_scores(
        [(1.0, True), (0.0, False)],
        [(0.5, True), (0.25, True), (0.0, False), (0.25, True)],
        num_samples=2,
    )
    assert (found.greedy, found.sampled, found.valid, found.samples) == (0.5, 0.25, 0.75, 2)
