"""Tests of RunReader: pages, states, and series compared with plain Python."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert, update

from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.records import EvaluationRecord, Series
from store.schema.tables import EventRow, RunRow
from store.writing.writer import RunWriter
from tests.unit.store.examples import group, new_run, write
from vocabulary.stages import BENCH

NOW = 10_000.0


@pytest.fixture
def reader(database: Database) -> RunReader:
    return RunReader(database, clock=lambda: NOW)


def a_run(
    database: Database, name: str, *, steps: Sequence[float] = (), heartbeat_at: float = NOW, **columns: Any
) -> int:
    """A running run whose steps ended at `steps`."""
    run_id = new_run(database, name)
    write(database, run_id, [(step, time_s, {"reward/a": 0.5}) for step, time_s in enumerate(steps)])
    values = {"state": "running", "created_at": 0.0, "started_at": 0.0, "heartbeat_at": heartbeat_at}
    with database.write() as connection:
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(values | columns))
    return run_id


# --- the list -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "changes", "state"),
    [
        ((), {"started_at": NOW - 890}, "running"),  # its engines are starting
        ((), {"started_at": NOW - 910}, "stalled"),
        ((), {"started_at": NOW - 100, "heartbeat_at": NOW - 31}, "stalled"),
        ((), {"started_at": NOW - 100, "heartbeat_at": NOW - 29}, "running"),
        ((NOW - 70, NOW - 69), {}, "stalled"),
        ((NOW - 60, NOW - 59), {}, "running"),
        ((NOW - 149, NOW - 119, NOW - 89), {}, "running"),  # a step takes half a minute
        ((NOW - 151, NOW - 121, NOW - 91), {}, "stalled"),
        ((NOW - 400, NOW - 390, NOW - 380, NOW - 200), {}, "running"),  # a step of 180 s has happened before
        ((NOW - 480, NOW - 470, NOW - 460, NOW - 280), {}, "stalled"),
        ((NOW - 990, NOW - 980), {"started_at": NOW - 890}, "running"),  # resumed, not yet at its next step
        ((NOW - 990, NOW - 980), {"started_at": NOW - 910}, "stalled"),
        ((), {"state": "queued", "heartbeat_at": NOW - 119}, "queued"),
        ((), {"state": "queued", "heartbeat_at": NOW - 121}, "stalled"),  # the process that starts it is gone
        ((NOW - 990, NOW - 980), {"state": "done", "heartbeat_at": 0.0}, "done"),
    ],
)
def test_a_run_without_progress_is_stalled(
    database: Database, reader: RunReader, steps: Sequence[float], changes: dict[str, Any], state: str
) -> None:
    a_run(database, "demo", steps=steps, **changes)
    assert [item.state for item in reader.runs().items] == [state]
    assert reader.runs(states=[state]).total == 1  # type: ignore[list-item]
    others = {"running", "stalled", "done", "failed", "queued"} - {state}
    assert reader.runs(states=sorted(others)).total == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "ago_s", "state"),
    [
        ("evaluating after training", 70, "running"),  # no step ends during an evaluation
        ("evaluating after training", 890, "running"),
        ("evaluating after training", 910, "stalled"),
        ("training", 70, "stalled"),
        ("training", 50, "running"),
        ("evaluating before training", 2000, "stalled"),  # a step has ended since, so the run trains
    ],
)
def test_a_stage_without_steps_may_take_longer(
    database: Database, reader: RunReader, message: str, ago_s: float, state: str
) -> None:
    run_id = a_run(database, "demo", steps=(NOW - 1000, NOW - 999))
    with database.write() as connection:
        stage = {"run_id": run_id, "kind": "stage", "message": message, "time": NOW - ago_s, "key": "a"}
        connection.execute(insert(EventRow).values(stage))
    (item,) = reader.runs().items
    assert (item.state, item.stage) == (state, message)
    assert reader.runs(states=[state]).total == 1  # type: ignore[list-item]


def test_seconds_per_step_and_time_left(database: Database, reader: RunReader) -> None:
    a_run(database, "demo", steps=[NOW - 100, NOW - 20, NOW - 15, NOW - 10, NOW - 5])
    (item,) = reader.runs().items
    assert (item.seconds_per_step, item.eta_s, item.step) == (5.0, 95 * 5.0, 5)
    assert item.last_rewards == {"a": 0.5}


def test_the_last_reward_of_a_task_is_its_last_finite_one(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    write(
        database,
        run_id,
        [
            (0, 1.0, {"reward/a": 0.1, "reward/b": 0.2, "reward/mean": 0.15}),
            (1, 2.0, {"reward/a": 0.3, "reward/b": math.nan, "rewards": 1.0}),
        ],
    )
    assert reader.runs().items[0].last_rewards == {"a": 0.3, "b": 0.2}


def test_runs_are_paged_filtered_and_sorted(database: Database, reader: RunReader) -> None:
    for number in range(7):
        name = f"{'Jigsaw_100%' if number % 2 else 'demo'}-{number}"
        a_run(database, name, created_at=float(number), ended_at=None if number < 5 else float(number))
    assert [item.created_at for item in reader.runs().items] == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    page = reader.runs(offset=2, limit=3)
    assert ([item.created_at for item in page.items], page.total) == ([4.0, 3.0, 2.0], 7)
    assert (page.offset, page.limit) == (2, 3)
    assert reader.runs(text="jigsaw_100%").total == 3
    assert reader.runs(text="jigsaw1100").total == 0  # % and _ are literal
    assert reader.runs(sort="name").items[0].name == "Jigsaw_100%-1"
    assert [item.ended_at for item in reader.runs(sort="ended_at").items][:3] == [5.0, 6.0, None]
    assert [item.ended_at for item in reader.runs(sort="-ended_at").items][:3] == [6.0, 5.0, None]
    with pytest.raises(StoreError, match="sort='secret'"):
        reader.runs(sort="secret")


def test_a_run_is_found_by_number_and_by_name(database: Database, reader: RunReader) -> None:
    first = new_run(database, "demo", folder="/a")
    second = new_run(database, "demo", folder="/b")
    by_number, by_name = reader.run(first), reader.run_by_name("demo")
    assert by_number is not None
    assert by_name is not None
    assert (by_number.folder, by_name.id, by_name.folder) == ("/a", second, "/b")
    assert reader.run(99) is None
    assert reader.run_by_name("other") is None


# --- curves -------------------------------------------------------------------------------------------


def curve(num_steps: int, every: int = 1) -> dict[int, float]:
    draw = random.Random(0)
    return {step: draw.random() for step in range(0, num_steps, every)}


def write_curve(database: Database, values: dict[int, float], name: str = "kl") -> int:
    run_id = new_run(database)
    write(database, run_id, [(step, 2.0 * step, {name: value}) for step, value in values.items()])
    return run_id


def thinned(values: dict[int, float], max_points: int) -> dict[int, tuple[float, float, float]]:
    """Return (mean, low, high) by last step, computed range by range."""
    width = next(width for width in range(1, 10**6) if max(values) - min(values) <= width * (max_points - 1))
    stretches = defaultdict(list)
    for step in values:
        stretches[step // width].append(step)
    parts = {max(steps): [values[step] for step in steps] for steps in stretches.values()}
    return {last: (sum(part) / len(part), min(part), max(part)) for last, part in parts.items()}


def points(series: Series) -> dict[int, tuple[float, float, float]]:
    rows = zip(series.mean, series.low, series.high, strict=True)
    return dict(zip(series.steps, rows, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(("num_steps", "every"), [(1001, 1), (1000, 7), (513, 1), (101, 1), (199, 1)])
def test_a_long_series_is_thinned_and_keeps_its_spikes(
    database: Database, reader: RunReader, num_steps: int, every: int
) -> None:
    values = curve(num_steps, every)
    values[every * (len(values) // 2)] = 99.0
    run_id = write_curve(database, values)
    (series,) = reader.series([run_id], ["kl"], max_points=100)
    expected = thinned(values, 100)
    assert list(series.steps) == sorted(expected)
    assert len(series.steps) <= 100
    assert points(series) == {step: pytest.approx(parts) for step, parts in expected.items()}
    assert max(high for high in series.high if high is not None) == 99.0
    assert series.times == tuple(2.0 * step for step in series.steps)
    assert series.steps[-1] == max(values)


@pytest.mark.parametrize("gap", [0, 5000])
def test_a_series_that_fits_is_exact(database: Database, reader: RunReader, gap: int) -> None:
    values = {step if step < 50 else step + gap: value for step, value in curve(100).items()}
    (series,) = reader.series([write_curve(database, values)], ["kl"], max_points=100)
    assert points(series) == {step: (value, value, value) for step, value in values.items()}


def test_parts_of_series(database: Database, reader: RunReader) -> None:
    run_id = write_curve(database, curve(100))

    def steps(**bounds: int) -> list[int]:
        series = reader.series([run_id], ["kl"], **bounds)  # type: ignore[arg-type]
        return list(series[0].steps) if series else []

    assert steps(first_step=10, last_step=12) == [10, 11, 12]
    assert steps(since_step=97) == [98, 99]
    assert steps(since_step=99) == []
    assert steps(since_step=3, first_step=98) == [98, 99]
    with pytest.raises(StoreError, match="max_points=1"):
        reader.series([run_id], ["kl"], max_points=1)


def test_series_of_several_runs_come_in_the_given_order_without_missing_ones(
    database: Database, reader: RunReader
) -> None:
    first, second, third = (new_run(database, name) for name in "abc")
    write(database, first, [(0, 1.0, {"kl": 1.0, "loss": 2.0})])
    write(database, third, [(0, 1.0, {"kl": 3.0})])
    series = reader.series([third, second, first], ["loss", "never", "kl"])
    assert [(one.run_id, one.name) for one in series] == [(third, "kl"), (first, "loss"), (first, "kl")]
    curves = reader.curves([third, second, first], "kl")
    assert [(one.run_id, one.steps, one.values) for one in curves] == [
        (third, (0,), (3.0,)),
        (first, (0,), (1.0,)),
    ]
    assert reader.curves([first], "never") == []


def test_small_curves_follow_the_series(database: Database, reader: RunReader) -> None:
    rising = {step: step / 1000 for step in range(500, 1500)}
    (small,) = reader.curves([write_curve(database, rising)], "kl", points=20)
    assert len(small.steps) == 20
    assert small.steps == tuple(range(500, 1500, 50))
    assert small.values == pytest.approx([(step + 3.5) / 1000 for step in small.steps])


def test_a_small_curve_of_few_points_is_exact(database: Database, reader: RunReader) -> None:
    values = curve(1000, 100)
    (small,) = reader.curves([write_curve(database, values)], "kl", points=60)
    assert dict(zip(small.steps, small.values, strict=True)) == pytest.approx(values)


# --- the rest of a run --------------------------------------------------------------------------------


def test_events_continue_after_or_before_a_given_one(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    writer = RunWriter(database, run_id)
    for number in range(10):
        writer.event("even" if number % 2 == 0 else "odd", str(number))
    writer.close()
    events = reader.events(run_id)
    assert [event.message for event in events] == [str(number) for number in range(10)]
    assert [event.message for event in reader.events(run_id, limit=3)] == ["7", "8", "9"]
    third = events[2].id
    assert [event.message for event in reader.events(run_id, after_id=third, limit=2)] == ["3", "4"]
    assert [event.message for event in reader.events(run_id, before_id=third)] == ["0", "1"]
    assert [event.message for event in reader.events(run_id, kinds=["odd"], limit=2)] == ["7", "9"]


def test_groups_by_step_task_and_prompt(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    writer = RunWriter(database, run_id)
    for step in range(3):
        writer.group(group(step, "a", (0.0, 0.5)))
        writer.group(group(step, "b", (1.0, 1.0), prompt_key="train-4"))
        writer.group(group(step, "c", (0.0, 1.0), task="jigsaw", prompt_key="train-5"))
    writer.close()
    assert reader.group_steps(run_id)[:2] == [(0, False, "grounding", 2), (0, False, "jigsaw", 1)]
    page = reader.groups(run_id, step=1, limit=2)
    assert ([item.group_id for item in page.items], page.total) == (["c", "a"], 3)
    assert [item.group_id for item in reader.groups(run_id, step=1, sort="-mean_reward").items] == [
        "b",
        "c",
        "a",
    ]
    assert [item.group_id for item in reader.groups(run_id, step=1, sort="group_id").items] == ["a", "b", "c"]
    assert reader.groups(run_id, task="jigsaw").total == 3
    assert reader.groups(run_id, held_out=True).total == 0
    history = reader.prompt_history(run_id, "train-3").items
    assert [item.step for item in history] == [0, 1, 2]
    assert history[0].completions == group(0, "a", (0.0, 0.5)).completions
    assert reader.group(run_id + 1, page.items[0].id) is None
    with pytest.raises(StoreError, match="groups can be sorted by"):
        reader.groups(run_id, sort="question")  # type: ignore[arg-type]


def test_prompt_histories_and_benchmark_results_come_in_pages(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    writer = RunWriter(database, run_id)
    for step in range(3):
        writer.group(group(step, "a"))
        for task in ("easy", "hard"):
            writer.evaluation(EvaluationRecord(stage=BENCH, step=step, task=task, source="viu", scores={}))
    writer.close()
    page = reader.prompt_history(run_id, "train-3", offset=1, limit=1)
    assert ([item.step for item in page.items], page.total) == ([1], 3)
    found, total = reader.bench_results(offset=1, limit=2)
    assert [(run, each.step, each.task) for _, run, _, each in found] == [
        (run_id, 1, "easy"), (run_id, 1, "hard"), (run_id, 2, "easy"), (run_id, 2, "hard"),
    ]  # fmt: skip
    assert total == 3
    assert reader.folder(run_id) == "/runs/demo"
    assert reader.folder(run_id + 1) is None


def test_a_group_without_completions_has_no_reward(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    writer = RunWriter(database, run_id)
    writer.group(group(0, "none", ()))
    writer.group(group(0, "some"))
    writer.close()
    assert [item.spread for item in reader.groups(run_id).items] == [1.0, None]


def test_each_change_is_reported_once(database: Database) -> None:
    now = [NOW]
    reader = RunReader(database, clock=lambda: now[0])
    run_id, other = a_run(database, "demo"), a_run(database, "other")
    token, kinds = reader.changed_since(run_id, "")
    assert "run" in kinds
    assert reader.changed_since(run_id, token) == (token, ())
    everywhere, _ = reader.changed_since(None, "")
    writer = RunWriter(database, run_id, clock=lambda: now[0])
    writer.step(0, NOW, {"kl": 1.0})
    writer.event("stage", "training")
    writer.close()
    token, kinds = reader.changed_since(run_id, token)
    assert kinds == ("events", "metrics", "run")
    assert reader.changed_since(None, everywhere)[1] == kinds
    assert reader.changed_since(other, reader.changed_since(other, "")[0])[1] == ()
    now[0] += 31
    token, kinds = reader.changed_since(run_id, token)
    assert kinds == ("run",)  # it has stalled
    assert reader.changed_since(run_id, token)[1] == ()
    assert reader.changed_since(run_id, "nonsense")[1]


def test_a_reader_sees_a_whole_transaction_or_nothing(database: Database, reader: RunReader) -> None:
    run_id = new_run(database)
    with database.write() as connection:
        connection.execute(update(RunRow).values(steps=7))
        assert reader.runs().items[0].steps == 100
    assert reader.run(run_id).steps == 7  # type: ignore[union-attr]
