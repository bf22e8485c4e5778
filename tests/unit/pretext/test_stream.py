"""`pretext.stream`: a recipe's number determines it, and a cache does not change samples."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretext.recipe import Frames, Recipe
from pretext.stream import make_recipe, render, task_at
from pretext.tasks import TASKS
from pretext.video.cache import FrameCache, source_frames
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.inspect_video import inspect
from tests.unit.pretext.made import moving_frames, sampled

Encode = Callable[..., Path]

PARAMS = {
    "grounding": TASKS["grounding"].Params(segment=(2, 4)),
    "jigsaw": TASKS["jigsaw"].Params(num_clips=4),
    "counting": TASKS["counting"].Params(frames_per_kind=(1, 2), min_distance=2),
}
MIX = {"grounding": 2.0, "jigsaw": 2.0, "counting": 1.0}
VIDEOS = [sampled(8, path=f"{number}.mp4") for number in range(7)]


def make(index: int, seed: int = 0, task: str | None = None) -> Recipe:
    return make_recipe(index, videos=VIDEOS, mix=MIX, params_by_task=PARAMS, seed=seed, task=task)


@pytest.mark.parametrize(
    "mix",
    [
        MIX,
        {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2},
        {"counting": 20, "jigsaw": 40, "grounding": 40},
    ],
)
def test_every_cycle_holds_the_mix_exactly(mix: dict[str, float]) -> None:
    tasks = [task_at(index, mix)[0] for index in range(1000)]
    for start in range(0, 1000, 5):
        assert Counter(tasks[start : start + 5]) == {"grounding": 2, "jigsaw": 2, "counting": 1}


def test_uneven_mixes_are_never_more_than_one_sample_off_and_turns_count_up() -> None:
    mix = {"grounding": 0.0, "jigsaw": 0.7311, "counting": 0.0213}
    counts: Counter[str] = Counter()
    for index in range(3000):
        name, turn = task_at(index, mix)
        assert turn == counts[name]
        counts[name] += 1
        for name, weight in mix.items():
            assert abs(counts[name] - (index + 1) * weight / 0.7524) <= 1.0
    name, turn = task_at(10**15, MIX)
    assert abs(turn - 10**15 * MIX[name] / 5) <= 1


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"shuffled": 1.0}, "task 'shuffled': not known. Use one of grounding, jigsaw, counting"),
        ({"jigsaw": -1.0}, r"mix\.jigsaw=-1\.0"),
        ({"jigsaw": float("nan")}, r"mix\.jigsaw=nan"),
        ({"jigsaw": 0.0}, "above 0"),
        ({}, "above 0"),
    ],
)
def test_a_bad_mix_is_refused(mix: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        task_at(0, mix)


def test_a_recipe_follows_from_seed_and_index_alone() -> None:
    stream = [make(index) for index in range(50)]
    assert [make(index) for index in reversed(range(50))] == stream[::-1]
    assert len({recipe.id for recipe in stream}) == 50
    assert not {recipe.id for recipe in stream} & {make(index, seed=1).id for index in range(50)}
    assert all(Recipe.from_json(recipe.to_json()) == recipe for recipe in stream)


def test_every_video_comes_once_before_any_comes_again() -> None:
    rounds = [[make(7 * n + k).video for k in range(7)] for n in range(12)]
    assert all(sorted(videos) == [f"{n}.mp4" for n in range(7)] for videos in rounds)
    assert len({tuple(videos) for videos in rounds}) > 10


def test_a_task_can_be_named_and_takes_its_defaults() -> None:
    assert {make(index, task="counting").task for index in range(5)} == {"counting"}
    recipe = make_recipe(0, videos=[sampled(48)], mix={}, params_by_task={}, seed=0, task="jigsaw")
    assert len(recipe.params["shown"]) == TASKS["jigsaw"].Params().num_clips
    with pytest.raises(ValueError, match="no videos"):
        make_recipe(0, videos=[], mix=MIX, params_by_task=PARAMS, seed=0)


@pytest.fixture
def videos(encode: Encode, small: FrameSpec) -> list[SampledVideo]:
    paths = [encode(f"{seed}.mp4", moving_frames(40, seed=seed), np.arange(40) / 10) for seed in range(3)]
    return [inspect(str(path), small) for path in paths]


@pytest.mark.parametrize("room", [0, 1, 2.5, 100])
def test_a_cache_changes_no_byte_and_stays_within_its_limit(videos: list[SampledVideo], room: float) -> None:
    params = PARAMS | {
        "grounding": TASKS["grounding"].Params(segment=(2, 4), perturbations=("swap", "noise"))
    }
    recipes = [
        make_recipe(index, videos=videos, mix=MIX, params_by_task=params, seed=0) for index in range(15)
    ]
    plain = [_pixels(recipe) for recipe in recipes]
    cache = FrameCache(int(room * 8 * 64 * 64 * 3))
    for _ in range(2):
        assert [_pixels(recipe, cache) for recipe in reversed(recipes)] == plain[::-1]
        assert cache._num_bytes <= cache._max_bytes
        assert cache._num_bytes == sum(frames.nbytes for frames in cache._kept.values())
    kept = cache.frames(source_frames(recipes[0]))
    assert (cache.frames(source_frames(recipes[0])) is kept) == (room >= 1)
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0


def test_a_cached_file_is_not_opened_again(videos: list[SampledVideo]) -> None:
    recipe = make_recipe(0, videos=videos, mix={"jigsaw": 1}, params_by_task=PARAMS, seed=0)
    cache = FrameCache(10**7)
    before = _pixels(recipe, cache)
    Path(recipe.video).unlink()
    assert _pixels(recipe, cache) == before


@pytest.mark.parametrize("task", list(TASKS))
def test_genuine_videos_become_samples(real_videos: list[tuple[SampledVideo, Frames]], task: str) -> None:
    all_videos = [video for video, _ in real_videos]
    frames = {video.path: images for video, images in real_videos}
    for index in range(len(all_videos)):
        recipe = make_recipe(index, videos=all_videos, mix={}, params_by_task={}, seed=0, task=task)
        borrows = TASKS[task].borrows(recipe)
        borrowed = None if borrows is None else FrameCache(0).frames(borrows)
        sample = TASKS[task].render(recipe, frames[recipe.video], borrowed)
        assert sum(len(clip.frames) for clip in sample.clips) == 48
        assert all(clip.frames.shape[1:] == (recipe.height_px, recipe.width_px, 3) for clip in sample.clips)
        assert all(clip.frames.dtype == np.uint8 for clip in sample.clips)


def _pixels(recipe: Recipe, cache: FrameCache | None = None) -> bytes:
    return b"".join(clip.frames.tobytes() for clip in render(recipe, cache).clips)
