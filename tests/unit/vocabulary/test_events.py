"""Tests of the catalogue of event kinds: the code, the page and older runs agree with it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vocabulary import events
from vocabulary.events import EVENT_KINDS, event_kind, is_kind

ROOT = Path(__file__).parents[3]
WRITERS = {"event", "_on_event", "EventEntry"}  # what takes the kind of an event


def kinds_written(path: Path) -> Iterator[str]:
    """Yield the source of every event's kind in a module: a name, or a quoted string."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr == "remote":  # a call of an actor
            function = function.value
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        place = 1 if name == "EventEntry" else 0
        if name in WRITERS and len(call.args) > place:
            yield ast.unparse(call.args[place])


def test_every_kind_that_the_code_records_is_a_name_of_the_catalogue() -> None:
    found = {
        kind
        for package in ("actors", "cluster", "store")
        for path in (ROOT / package).rglob("*.py")
        for kind in kinds_written(path)
    }
    passed_on = {"kind", "clean(kind)", "state", "now"}  # arguments of functions that hand an event on
    named = {f"events.{name}" for name in dir(events) if name.isupper()}
    assert found - passed_on - named - {"STAGE_EVENT", "stages.STAGE_EVENT"} == set()
    assert {"events.VIDEO_SKIPPED", "events.FAILED", "events.RECORD_LOST"} <= found


def test_every_constant_is_in_the_catalogue_and_every_kind_is_there_once() -> None:
    constants = {
        value for name in dir(events) if name.isupper() and isinstance(value := getattr(events, name), str)
    }
    names = [name for kind in EVENT_KINDS for name in (kind.name, *kind.old_names)]
    assert {kind.name for kind in EVENT_KINDS} == constants
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["video_skipped", "video_set_aside", "video_rejected"])
def test_a_skipped_video_has_one_title_under_its_new_and_old_names(name: str) -> None:
    assert event_kind(name).title == "video skipped"
    assert event_kind(name).severity == "warn"
    assert is_kind(name, events.VIDEO_SKIPPED)


def test_an_unknown_kind_is_refused_with_the_place_to_add_it() -> None:
    assert not is_kind("odd", events.VIDEO_SKIPPED)
    with pytest.raises(KeyError, match=re.escape("vocabulary/events.py")):
        event_kind("odd")


def test_the_page_has_the_same_titles_and_severities() -> None:
    page = (ROOT / "dashboard" / "page" / "views" / "run" / "event_kinds.js").read_text(encoding="utf-8")
    shown = re.findall(r'^  (\w+): \{ title: "([^"]+)", severity: "(\w+)" \},$', page, re.MULTILINE)
    assert shown == [
        (name, kind.title, kind.severity) for kind in EVENT_KINDS for name in (kind.name, *kind.old_names)
    ]
