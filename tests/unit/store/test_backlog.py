"""Tests that the backlog keeps each entry once and stays within its limit of memory."""

from store.records import EvaluationRecord, WorkerStatus
from store.writing.backlog import Backlog, EventEntry, StateEntry, StepEntry
from tests.unit.store.examples import group


def step_entry(value: float = 1.0) -> StepEntry:
    return StepEntry(0.0, {"kl": value})


def full_backlog() -> Backlog:
    backlog = Backlog()
    for step in range(4):
        backlog.add_step(step, step_entry())
        backlog.add_group(group(step))
        backlog.add_group(group(step, "held-out-during-0", held_out=True))
        backlog.add_event(EventEntry(0.0, "stage", f"{step}"))
        backlog.add_evaluation(EvaluationRecord(stage="during", step=step, task="jigsaw", scores={}))
    return backlog


def counted(backlog: Backlog) -> int:
    """Return num_bytes of a new backlog with the same entries."""
    fresh = Backlog()
    fresh.absorb(backlog)
    return fresh.num_bytes


def test_num_bytes_is_the_size_of_the_entries() -> None:
    backlog = full_backlog()
    backlog.add_step(2, StepEntry(0.0, {"kl": 1.0, "entropy": 2.0}))
    backlog.add_group(group(2, rewards=(0.0, 0.5, 1.0)))
    assert backlog.num_bytes == counted(backlog) > full_backlog().num_bytes
    backlog.forget(1)
    assert backlog.num_bytes == counted(backlog) < full_backlog().num_bytes


def test_an_entry_that_is_added_twice_is_kept_once_in_its_last_form() -> None:
    older, newer = full_backlog(), Backlog()
    newer.add_step(3, step_entry(7.0))
    newer.add_worker(WorkerStatus(role="rollout", index=0, node="a", updated_at=1.0))
    newer.state = StateEntry("done", None, 1.0)
    older.absorb(newer)
    assert list(older.steps) == [0, 1, 2, 3]
    assert older.steps[3].metrics == {"kl": 7.0}
    assert older.state == newer.state
    assert len(older.workers) == 1


def test_forgetting_removes_later_steps_and_keeps_the_evaluation_of_the_checkpoint() -> None:
    older, newer = full_backlog(), Backlog()
    newer.forget(1)
    newer.add_step(2, step_entry(5.0))
    older.absorb(newer)
    assert older.forget_after == 1
    assert {step: row.metrics["kl"] for step, row in older.steps.items()} == {0: 1.0, 1: 1.0, 2: 5.0}
    kept = {held_out: [each.step for each in older.groups.values() if each.held_out == held_out]
            for held_out in (False, True)}  # fmt: skip
    assert kept == {False: [0, 1], True: [0, 1, 2]}
    assert [record.step for record in older.evaluations.values()] == [
        0,
        1,
        2,
    ]  # policy version 2 was made by steps 0 and 1
    assert len(older.events) == 4


def test_groups_are_dropped_first_then_the_oldest_steps_then_events() -> None:
    backlog = full_backlog()
    group_bytes = full_backlog().num_bytes
    backlog.trim(backlog.num_bytes - 1)
    assert [step for step, _ in backlog.groups] == [0, 1, 1, 2, 2, 3, 3]
    group_bytes -= backlog.num_bytes
    backlog.trim(backlog.num_bytes - 7 * group_bytes - 1)
    assert not backlog.groups
    assert list(backlog.steps) == [1, 2, 3]
    assert backlog.lost() == "8 sampled groups, 1 steps' metrics"
    backlog.trim(0)
    assert not backlog.steps
    assert not backlog.events
    assert len(backlog.evaluations) == 4
    assert backlog.num_bytes == 0


def test_the_pieces_together_are_the_backlog() -> None:
    backlog, whole = full_backlog(), Backlog()
    for piece in backlog.pieces():
        whole.absorb(piece)
    assert whole == backlog
