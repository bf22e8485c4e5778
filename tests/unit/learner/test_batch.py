"""`learner.batch`: where every token of a padded batch stands, and who trains what."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch

from learner.batch import Row, TrainingGroup, collate, share_of_rank, split_rows

PAD = 99


@dataclass(frozen=True, eq=False)
class FakePrompt:
    """Text positions but for a jump, as after a video: the completion starts at `next_position`."""

    token_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    next_position: int
    patches: npt.NDArray[np.uint8]
    grid_thw: npt.NDArray[np.int64]


def prompt(length: int, *, patches: int, next_position: int, mark: int = 0) -> FakePrompt:
    positions = np.arange(3 * length).reshape(3, length)
    pixels = np.full((patches, 4), mark, np.uint8)
    return FakePrompt(
        np.arange(10, 10 + length), positions, next_position, pixels, np.array([[1, 1, patches]])
    )


@dataclass
class Fetch:
    """A prompt's reference that counts how often it is fetched."""

    value: FakePrompt
    count: int = field(default=0)

    def __call__(self) -> FakePrompt:
        self.count += 1
        return self.value


def group(first_token: int, num_completions: int, fetch: Fetch | None = None) -> TrainingGroup:
    """Completions of 1, 2, ... tokens, each token saying where it belongs."""
    completions = tuple(tuple(range(first_token, first_token + n + 1)) for n in range(num_completions))
    return TrainingGroup(
        fetch_prompt=fetch or Fetch(prompt(3, patches=2, next_position=3)),
        completions=completions,
        rollout_logprobs=tuple(tuple(-0.5 for _ in completion) for completion in completions),
        advantages=tuple(float(first_token + n) for n in range(num_completions)),
    )


def test_collate_by_hand() -> None:
    long, short = (
        prompt(4, patches=2, next_position=12, mark=2),
        prompt(2, patches=1, next_position=7, mark=1),
    )
    rows = [
        Row(short, (20, 21, 22), (-0.1, -0.2, -0.3), 1.5),
        Row(long, (30,), (-0.4,), -0.5),
        Row(short, (40, 41), (-0.5, -0.6), 0.0),
    ]
    batch = collate(rows, pad_token_id=PAD)
    assert batch.prompt_ids.tolist() == [[PAD, PAD, 10, 11], [10, 11, 12, 13]]
    assert batch.prompt_mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch.prompt_positions[:, 0].tolist() == [[0, 0, 0, 1], [0, 0, 2, 3], [0, 0, 4, 5]]
    assert batch.prompt_positions[:, 1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert batch.next_positions.tolist() == [7, 12]
    assert batch.prompt_of_row.tolist() == [0, 1, 0]
    assert batch.patches.tolist() == [[1] * 4, [2] * 4, [2] * 4]
    assert batch.grid_thw.tolist() == [[1, 1, 1], [1, 1, 2]]
    assert batch.videos_per_prompt.tolist() == [1, 1]
    assert batch.completion_ids.tolist() == [[20, 21, 22], [30, PAD, PAD], [40, 41, PAD]]
    assert batch.completion_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    torch.testing.assert_close(
        batch.rollout_logprobs, torch.tensor([[-0.1, -0.2, -0.3], [-0.4, 0, 0], [-0.5, -0.6, 0]])
    )
    assert batch.advantages.tolist() == [1.5, -0.5, 0]


def test_a_filler_row_is_masked_out_whole_but_goes_through_the_model() -> None:
    row = Row(prompt(2, patches=1, next_position=2), (20, 21), (-0.1, -0.2), 0.0, weight=0.0)
    batch = collate([row], pad_token_id=PAD)
    assert batch.completion_mask.tolist() == [[0, 0]]
    assert batch.prompt_mask.tolist() == [[1, 1]]
    assert batch.completion_ids.tolist() == [[20, 21]]


def test_completions_of_one_token_are_padded_to_two_columns() -> None:
    batch = collate([Row(prompt(2, patches=1, next_position=2), (20,), (-0.1,), 1.0)], pad_token_id=PAD)
    assert batch.completion_ids.tolist() == [[20, PAD]]
    assert batch.completion_mask.tolist() == [[1, 0]]


def test_num_tokens_counts_completion_tokens() -> None:
    assert group(100, 4).num_tokens == 1 + 2 + 3 + 4


def test_rows_are_cut_in_order_and_each_prompt_is_fetched_once() -> None:
    fetches = [Fetch(prompt(3, patches=2, next_position=3)) for _ in range(2)]
    groups = [group(100, 3, fetches[0]), group(200, 2, fetches[1])]
    batches = split_rows(groups, micro_batch_size=2, num_micro_batches=3)
    assert [[row.advantage for row in batch] for batch in batches] == [[100, 101], [102, 200], [201]]
    assert [[row.completion[0] for row in batch] for batch in batches] == [[100, 100], [100, 200], [200]]
    assert all(row.weight == 1 for batch in batches for row in batch)
    assert [fetch.count for fetch in fetches] == [1, 1]


def test_a_rank_with_fewer_rows_fills_up_with_rows_of_weight_0() -> None:
    batches = split_rows([group(100, 3)], micro_batch_size=2, num_micro_batches=4)
    assert [len(batch) for batch in batches] == [2, 1, 1, 1]
    assert [[row.weight for row in batch] for batch in batches] == [[1, 1], [1], [0], [0]]
    assert [row.advantage for row in batches[2] + batches[3]] == [0, 0]
    assert sum(row.weight * len(row.completion) for batch in batches for row in batch) == 1 + 2 + 3


@pytest.mark.parametrize(("num_groups", "world_size"), [(1, 1), (8, 2), (7, 3), (3, 3), (16, 5)])
def test_every_group_is_trained_by_exactly_one_rank(num_groups: int, world_size: int) -> None:
    shares = [list(share_of_rank(num_groups, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(index for share in shares for index in share) == list(range(num_groups))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
