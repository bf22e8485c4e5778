"""Tests that a request reaches its run exactly once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.requests import add_request, finish_request, take_requests
from store.writing.writer import RunWriter
from tests.unit.store.examples import new_run


def test_a_request_is_added_taken_and_finished(database: Database) -> None:
    run_id, reader = new_run(database), RunReader(database)
    number = add_request(database, run_id, "stop", "ann")
    assert [request.taken_at for request in reader.requests(run_id).items] == [None]
    assert [
        (request.id, request.action, request.asked_by) for request in take_requests(database, run_id)
    ] == [(number, "stop", "ann")]
    assert take_requests(database, run_id) == []
    finish_request(database, number, "stopped after step 4")
    (request,) = reader.requests(run_id).items
    assert request.outcome == "stopped after step 4"
    assert request.asked_at <= (request.taken_at or 0) <= (request.done_at or 0)


def test_each_request_goes_to_one_taker_and_only_of_its_run(database: Database) -> None:
    run_id, other = new_run(database), new_run(database, "other")
    asked = [add_request(database, run_id, "checkpoint", "ann") for _ in range(20)]
    add_request(database, other, "stop", "ann")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take_requests(database, run_id), range(16)))
    assert sorted(request.id for requests in taken for request in requests) == asked


def test_many_requests_may_be_added_at_once(database: Database) -> None:
    run_id = new_run(database)
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: add_request(database, run_id, "checkpoint", "ann"), range(40)))
    assert sorted(asked) == sorted(request.id for request in RunReader(database).requests(run_id).items)
    assert len(set(asked)) == 40


def test_a_request_to_start_has_no_run_until_it_is_finished(database: Database) -> None:
    first, second = (add_request(database, None, "start", name) for name in ("ann", "bob"))
    finish_request(database, first, "refused")
    finish_request(database, second, "started", run_id=new_run(database, "demo"))
    page = RunReader(database).requests(limit=1)
    assert (page.total, page.items[0].run_name, page.items[0].outcome) == (2, "demo", "started")
    (older,) = RunReader(database).requests(offset=1).items
    assert (older.asked_by, older.run_id, older.run_name, older.outcome) == ("ann", None, None, "refused")


@pytest.mark.parametrize(
    ("run_id", "action", "words"),
    [
        (1, "explode", "no such action"),
        (99, "stop", "no run with this number"),
        (None, "stop", "asked of a run"),
        (1, "start", "asked of no run"),
        (1, "stop", "has ended"),
    ],
)
def test_an_impossible_request_is_refused_with_the_reason(
    database: Database, run_id: Any, action: Any, words: str
) -> None:
    assert new_run(database, state="done") == 1
    with pytest.raises(StoreError, match=words):
        add_request(database, run_id, action, "ann")


def test_an_ended_run_can_be_resumed(database: Database) -> None:
    run_id = new_run(database)
    writer = RunWriter(database, run_id)
    writer.state("failed", "out of memory")
    writer.close()
    assert add_request(database, run_id, "resume", "ann")


def test_an_unknown_request_cannot_be_finished(database: Database) -> None:
    with pytest.raises(StoreError, match="no request with this number"):
        finish_request(database, 5, "done")


def test_the_run_does_not_take_requests_to_resume_it(database: Database) -> None:
    run_id = new_run(database)
    asked = add_request(database, run_id, "resume", "operator")
    add_request(database, run_id, "stop", "operator")
    assert [request.action for request in take_requests(database, run_id)] == ["stop"]
    finish_request(database, asked, "Started run 'demo'.")
    assert take_requests(database, run_id) == []
