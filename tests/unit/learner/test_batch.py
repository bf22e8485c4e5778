"""Tests of learner.batch: the index of every token in a packed micro-batch, and which rank trains what."""

import random

import pytest
import torch

from learner.batch import (
    GroupPart,
    MicroBatchPlan,
    PromptWithCompletions,
    Span,
    collate,
    pack_micro_batch,
    plan_micro_batches,
)
from tests.unit.learner.fake_groups import Fetch, group, prompt


def test_collate_by_hand() -> None:
    first = PromptWithCompletions(
        prompt(3, patches=2, next_position=12, mark=2), [(50, 51, 52), (60,)], [(-1.0, -2.0, -3.0), (-4.0,)]
    )
    second = PromptWithCompletions(prompt(2, patches=1, next_position=7, mark=1), [(70, 71)], [(-5.0, -6.0)])
    batch = collate([first, second])
    # A completion's last token predicts nothing: 50 51 52 has the inputs 50 51, and 60 has none.
    assert batch.token_ids.tolist() == [10, 11, 12, 50, 51, 10, 11, 70]
    assert batch.positions.tolist() == [
        [0, 1, 2, 12, 13, 0, 1, 7],
        [3, 4, 5, 12, 13, 2, 3, 7],
        [6, 7, 8, 12, 13, 4, 5, 7],
    ]
    assert batch.spans == (Span(3, (2, 0)), Span(2, (1,)))
    assert batch.target_ids.tolist() == [50, 51, 52, 60, 70, 71]
    assert batch.predicted_at.tolist() == [2, 3, 4, 2, 6, 7]
    assert batch.sequence.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.rollout_logprobs.tolist() == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    assert batch.patches[:, 0].tolist() == [2, 2, 1]
    assert batch.grid_thw.tolist() == [[1, 1, 2], [1, 1, 1]]
    assert batch.videos_per_prompt == (1, 1)


def test_packing_fetches_only_the_prompts_of_the_plan() -> None:
    groups = [group(3, (2, 2), mark=mark) for mark in range(3)]
    batch = pack_micro_batch(groups, MicroBatchPlan((GroupPart(2, (1,)), GroupPart(0, (0, 1)))))
    assert batch.target_ids.tolist() == [210, 211, 0, 1, 10, 11]
    assert batch.origin == ((2, 1), (0, 0), (0, 1))
    assert [fetch.count for g in groups if isinstance(fetch := g.fetch_prompt, Fetch)] == [1, 0, 1]


def test_groups_are_packed_up_to_the_limit() -> None:
    groups = [group(10, (3, 4)) for _ in range(4)]  # 10 + 2 + 3 tokens each
    (plans,) = plan_micro_batches(groups, max_tokens=30, shared_prefix=True, world_size=1)
    assert plans == [
        MicroBatchPlan((GroupPart(0, (0, 1)), GroupPart(1, (0, 1)))),
        MicroBatchPlan((GroupPart(2, (0, 1)), GroupPart(3, (0, 1)))),
    ]
    (plans,) = plan_micro_batches(groups, max_tokens=29, shared_prefix=True, world_size=1)
    assert [len(plan.parts) for plan in plans] == [1, 1, 1, 1]


def test_a_group_over_the_limit_is_cut_between_completions() -> None:
    (plans,) = plan_micro_batches([group(10, (5, 5, 5, 50))], max_tokens=18, shared_prefix=True, world_size=1)
    assert plans == [
        MicroBatchPlan((GroupPart(0, (0, 1)),)),
        MicroBatchPlan((GroupPart(0, (2,)),)),
        MicroBatchPlan((GroupPart(0, (3,)),)),
    ]


def test_without_a_shared_prefix_every_completion_counts_its_prompt() -> None:
    (plans,) = plan_micro_batches([group(10, (2, 2, 2))], max_tokens=22, shared_prefix=False, world_size=1)
    assert plans == [MicroBatchPlan((GroupPart(0, (0, 1)),)), MicroBatchPlan((GroupPart(0, (2,)),))]


def test_work_is_balanced_over_ranks() -> None:
    groups = [group(length, (1, 1)) for length in (100, 10, 40, 50)]
    first, second = plan_micro_batches(groups, max_tokens=1000, shared_prefix=True, world_size=2)
    assert first == [MicroBatchPlan((GroupPart(0, (0, 1)),))]
    assert second == [MicroBatchPlan(tuple(GroupPart(index, (0, 1)) for index in (1, 2, 3)))]


def test_a_rank_with_fewer_micro_batches_gets_fillers() -> None:
    groups = [group(100, (1, 1)), group(60, (1, 1)), group(60, (1, 1))]
    first, second = plan_micro_batches(groups, max_tokens=100, shared_prefix=True, world_size=2)
    assert [plan.filler for plan in first] == [False, True]
    assert [plan.filler for plan in second] == [False, False]
    assert first[1].parts == (GroupPart(0, (0,)),)
    assert pack_micro_batch(groups, first[1]).filler


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_every_completion_is_trained_exactly_once(shared_prefix: bool) -> None:
    chance = random.Random(0)
    for _ in range(50):
        groups = [
            group(chance.randint(1, 40), tuple(chance.randint(1, 30) for _ in range(chance.randint(2, 6))))
            for _ in range(chance.randint(3, 9))
        ]
        world_size = chance.randint(1, 3)
        ranks = plan_micro_batches(
            groups, max_tokens=chance.randint(20, 200), shared_prefix=shared_prefix, world_size=world_size
        )
        assert len({len(plans) for plans in ranks}) == 1
        trained = [
            (part.group, n)
            for plans in ranks
            for plan in plans
            if not plan.filler
            for part in plan.parts
            for n in part.completions
        ]
        assert sorted(trained) == [(i, n) for i, g in enumerate(groups) for n in range(len(g.completions))]


def test_a_plan_is_renumbered_for_a_larger_batch() -> None:
    assert MicroBatchPlan((GroupPart(0, (0,)), GroupPart(1, (1,)))).of_groups(
        range(1, 8, 2)
    ) == MicroBatchPlan((GroupPart(1, (0,)), GroupPart(3, (1,))))


def test_to_moves_only_the_tensors() -> None:
    batch = pack_micro_batch([group(3, (2, 2))], MicroBatchPlan((GroupPart(0, (0, 1)),), filler=True)).to(
        torch.device("meta")
    )
    assert batch.token_ids.device.type == batch.rollout_logprobs.device.type == "meta"
    assert batch.origin == ((0, 0), (0, 1))
    assert batch.filler
