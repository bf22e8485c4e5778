"""`dataset.stats.jigsaw_shortcut`: it finds the best of all orders, and a gap lowers what it earns."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from dataset.stats.jigsaw_shortcut import shortcut_scores, solve_by_ends
from pretext.recipe import Clip, Recipe, Sample
from pretext.scenes import draw_videos
from pretext.stream import make_recipe, render
from pretext.tasks.jigsaw import JigsawParams
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.inspect_video import inspect
from tests.unit.pretext.conftest import SHARED_VIDEOS

REAL_VIDEOS = SHARED_VIDEOS / "real"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[SampledVideo]:
    spec = FrameSpec(num_frames=24, min_pixels=64 * 64, max_pixels=64 * 64)
    return [
        inspect(str(path), spec) for path in draw_videos(tmp_path_factory.mktemp("scenes"), count=3, seed=0)
    ]


def jigsaws(videos: list[SampledVideo], params: JigsawParams, count: int) -> list[Recipe]:
    return [
        make_recipe(index, videos=videos, mix={"jigsaw": 1}, params_by_task={"jigsaw": params}, seed=1)
        for index in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_the_clips_has_smaller_steps(seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (6, 3, 4, 4, 3), np.uint8)
    recipe = Recipe("jigsaw", "x.mp4", "pyav", (), (), 4, 4, {}, 0, "123456")
    sample = Sample(recipe, tuple(Clip(clip, np.arange(3.0)) for clip in frames), ())

    def steps(order: tuple[int, ...]) -> float:
        return sum(
            float(np.abs(frames[a][-1].astype(int) - frames[b][0].astype(int)).mean())
            for a, b in pairwise(order)
        )

    best = min(permutations(range(6)), key=steps)
    assert solve_by_ends(sample) == "".join(str(clip + 1) for clip in best)


def test_it_solves_nearly_all_jigsaws_of_smooth_scenes(scenes: list[SampledVideo]) -> None:
    recipes = jigsaws(scenes, JigsawParams(num_clips=4), 6)
    earned = shortcut_scores(recipes)
    assert earned is not None
    assert (earned.samples, earned.unreadable) == (6, 0)
    assert earned.reward > 0.9
    assert earned.chance == pytest.approx(1 / 24)


def test_all_jigsaws_of_a_video_have_the_same_solution(scenes: list[SampledVideo]) -> None:
    recipes = jigsaws(scenes[:1], JigsawParams(num_clips=6), 8)
    assert len({recipe.truth for recipe in recipes}) > 1
    solved = [
        tuple(recipe.params["shown"][int(d) - 1] for d in solve_by_ends(render(recipe))) for recipe in recipes
    ]
    assert len(set(solved)) == 1


def test_a_missing_video_is_only_counted(scenes: list[SampledVideo]) -> None:
    there, gone = jigsaws(scenes, JigsawParams(num_clips=4), 2)
    gone = Recipe(**{**vars(gone), "video": "/no/such.mp4"})
    earned = shortcut_scores([there, gone])
    assert earned is not None
    assert (earned.samples, earned.unreadable) == (1, 1)
    nothing = shortcut_scores([gone])
    assert nothing is not None
    assert (nothing.samples, nothing.unreadable, nothing.reward) == (0, 1, 0.0)
    assert shortcut_scores([]) is None


@pytest.mark.skipif(
    not REAL_VIDEOS.is_dir(), reason=f"{REAL_VIDEOS} is not here: this test wants genuine videos"
)
def test_a_gap_lowers_what_it_earns_on_genuine_videos() -> None:
    names = ("asl_sister.mkv", "mma_test.mp4", "mma_demo.mp4", "carphone.mp4")
    videos = [inspect(str(REAL_VIDEOS / name), FrameSpec()) for name in names]
    exact = []
    for gap in (0, 4):
        earned = shortcut_scores(jigsaws(videos, JigsawParams(gap=gap), len(videos)))
        assert earned is not None
        exact.append(earned.exact)
    assert exact[0] == 1.0
    assert exact[1] <= 0.5
