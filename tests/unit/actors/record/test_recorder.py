"""Tests of RunLogRecorder: what the RunLog actor receives, and that a failure to record does not end a run."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors.messages import Group, TaskEvaluation
from actors.record.recorder import RunLogRecorder
from pretext.recipe import Recipe
from tests.unit.actors.fakes import Remote, prompt


@dataclass
class FakeRunLog:
    """A RunLog actor that keeps the calls it receives."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Remote:
        async def call(*arguments: Any) -> None:
            self.calls.append((name, *arguments))

        return Remote(call)


GROUP = Group("0-0", prompt(0), (), policy_version=0)


async def test_frames_are_recorded_after_their_group() -> None:
    log = FakeRunLog()

    async def render(recipe: Recipe) -> list[Any]:
        return [recipe.video]

    recorder = RunLogRecorder(log, render)
    await recorder.step(3, {"reward/mean": 0.5}, [GROUP])
    evaluation = TaskEvaluation("after", 4, "jigsaw", (), (), (), (GROUP,))
    await recorder.evaluation(evaluation)
    await recorder.drain()
    assert log.calls[0] == ("step", 3, {"reward/mean": 0.5}, [GROUP])
    assert ("evaluation", evaluation) in log.calls
    frames = [call for call in log.calls if call[0] == "frames"]
    bare = replace(GROUP, prompt=replace(GROUP.prompt, engine_input=None, model_input=None))
    assert frames == [("frames", 3, bare, ["a.mp4"]), ("frames", 4, bare, ["a.mp4"])]


async def test_frames_that_cannot_be_rendered_become_an_event() -> None:
    log = FakeRunLog()

    async def render(recipe: Recipe) -> list[Any]:
        raise OSError("the video is gone")

    recorder = RunLogRecorder(log, render)
    await recorder.step(0, {}, [GROUP])
    await recorder.drain()
    assert log.calls[1:] == [("event", "record_failed", "a part of the record is missing: the video is gone")]


async def test_groups_beyond_the_limit_get_no_frames_and_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.record.recorder._MAX_RENDERING", 2)
    log, may_render = FakeRunLog(), asyncio.Event()

    async def render(recipe: Recipe) -> list[Any]:
        await may_render.wait()
        return []

    recorder = RunLogRecorder(log, render)
    await recorder.step(0, {}, [GROUP] * 4)
    await recorder.step(1, {}, [GROUP])
    may_render.set()
    await recorder.drain()
    names = [call[0] for call in log.calls]
    assert (names.count("frames"), names.count("event")) == (2, 1)
