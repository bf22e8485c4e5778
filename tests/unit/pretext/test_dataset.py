"""`pretext.stream` and `pretext.folder`: the stream of recipes, and the videos it is made from."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pretext.folder import find_videos, scan

from pretext.frames import FrameSpec
from pretext.recipe import Frames, Recipe
from pretext.stream import make_recipe, render, task_at
from pretext.tasks import TASKS
from pretext.video import VideoInfo

Encode = Callable[..., Path]
Draw = Callable[[int], Frames]

PARAMS = {
    "grounding": TASKS["grounding"].Params(min_segment=2, max_segment=4),
    "jigsaw": TASKS["jigsaw"].Params(num_clips=4),
}
MIX = {"grounding": 2.0, "jigsaw": 2.0, "counting": 1.0}
VIDEOS = [VideoInfo(f"{n}.mp4", 80, 8.0, 64, 64, np.arange(80) / 10, "decord") for n in range(7)]


def make(index: int, spec: FrameSpec, seed: int = 0, task: str | None = None) -> Recipe:
    return make_recipe(index, videos=VIDEOS, mix=MIX, params_by_task=PARAMS, spec=spec, seed=seed, task=task)


@pytest.mark.parametrize(
    "mix",
    [
        MIX,
        {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2},
        {"counting": 20, "jigsaw": 40, "grounding": 40},
    ],
)
def test_every_cycle_holds_the_mix_exactly(mix: dict[str, float]) -> None:
    tasks = [task_at(index, mix) for index in range(1000)]
    for start in range(0, 1000, 5):
        assert Counter(tasks[start : start + 5]) == {"grounding": 2, "jigsaw": 2, "counting": 1}


def test_odd_proportions_are_never_more_than_one_sample_off() -> None:
    mix = {"grounding": 0.0, "jigsaw": 0.7311, "counting": 0.0213}
    counts: Counter[str] = Counter()
    for index in range(3000):
        counts[task_at(index, mix)] += 1
        for name, weight in mix.items():
            assert abs(counts[name] - (index + 1) * weight / 0.7524) <= 1.0


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"shuffled": 1.0}, "task 'shuffled': not known. Use one of grounding, jigsaw, counting"),
        ({"jigsaw": -1.0}, "mix.jigsaw=-1.0"),
        ({"jigsaw": float("nan")}, "mix.jigsaw=nan"),
        ({"jigsaw": 0.0}, "above 0"),
        ({}, "above 0"),
    ],
)
def test_a_bad_mix_is_refused(mix: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        task_at(0, mix)


def test_a_recipe_follows_from_seed_and_index_alone(small: FrameSpec) -> None:
    stream = [make(index, small) for index in range(50)]
    assert [make(index, small) for index in reversed(range(50))] == stream[::-1]
    assert len({recipe.id for recipe in stream}) == 50
    assert not {recipe.id for recipe in stream} & {make(index, small, seed=1).id for index in range(50)}
    assert all(Recipe.from_json(recipe.to_json()) == recipe for recipe in stream)


def test_all_videos_come_before_any_comes_again(small: FrameSpec) -> None:
    rounds = [[make(7 * n + k, small).video for k in range(7)] for n in range(4)]
    assert all(sorted(videos) == [f"{n}.mp4" for n in range(7)] for videos in rounds)
    assert len({tuple(videos) for videos in rounds}) == 4


def test_a_task_can_be_named_and_takes_its_defaults(small: FrameSpec) -> None:
    assert {make(index, small, task="counting").task for index in range(5)} == {"counting"}
    with pytest.raises(ValueError, match="no videos"):
        make_recipe(0, videos=[], mix=MIX, params_by_task=PARAMS, spec=small, seed=0)


def test_a_folder_of_all_sorts(tmp_path: Path, encode: Encode, grey_steps: Draw, small: FrameSpec) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    encode("deep/er/GOOD.MP4", grey_steps(40), np.arange(40) / 10)
    encode("a.mkv", grey_steps(40), np.arange(40) / 10)
    encode("short.mp4", grey_steps(7), np.arange(7) / 10)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "notes.txt").write_text("not looked at")
    (tmp_path / "._hidden.mp4").write_text("not looked at")
    (tmp_path / "folder.mp4").mkdir()
    assert [path.name for path in find_videos(tmp_path)] == ["a.mkv", "GOOD.MP4", "short.mp4", "text.mp4"]
    found = scan(tmp_path, small)
    assert [Path(info.path).name for info in found.usable] == ["a.mkv", "GOOD.MP4"]
    assert {Path(bad.path).name: bad.reason[:9] for bad in found.rejected} == {
        "short.mp4": "shows onl",
        "text.mp4": "cannot be",
    }


def test_a_missing_folder_is_named(tmp_path: Path, small: FrameSpec) -> None:
    with pytest.raises(ValueError, match="nowhere: there is no such folder"):
        scan(tmp_path / "nowhere", small)


@pytest.mark.parametrize("task", list(TASKS))
def test_genuine_videos_become_samples(shared_videos: Path, task: str) -> None:
    found = scan(shared_videos / "odd", FrameSpec(num_frames=24))
    assert {Path(info.path).name for info in found.usable} == {
        "bikes_rot90.mp4",
        "h264_10bit_30frames.mp4",
        "no_duration_vp9.webm",
        "short_57frames.mp4",
    }
    assert len(found.rejected) == 9  # one of them as its frames come in bursts
    for index in range(len(found.usable)):
        recipe = make_recipe(
            index,
            videos=found.usable,
            mix={},
            params_by_task={},
            spec=FrameSpec(num_frames=24),
            seed=0,
            task=task,
        )
        sample = render(recipe)
        assert sum(len(clip.frames) for clip in sample.clips) == 24
        assert all(clip.frames.shape[1:] == (recipe.height_px, recipe.width_px, 3) for clip in sample.clips)
        assert sum(len(piece) for piece in sample.content if isinstance(piece, str)) <= 110
