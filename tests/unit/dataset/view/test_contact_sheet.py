"""`dataset.view.contact_sheet`: every frame is in its place, edited ones have a border, and the words are right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.view.annotations import details
from dataset.view.contact_sheet import draw_sheet
from pretext.recipe import IMAGES, Frames, Recipe, Sample
from pretext.stream import make_recipe, render
from pretext.tasks import TASKS
from pretext.tasks.counting import CountingParams
from pretext.tasks.grounding import DESCRIPTIONS, GroundingParams
from pretext.tasks.jigsaw import JigsawParams
from pretext.tasks.task import TaskParams
from pretext.video.frames import SampledVideo

ORANGE = (0xD9, 0x48, 0x0F)
WHITE = (255, 255, 255)
SMALL: dict[str, TaskParams] = {
    "grounding": GroundingParams(perturbations=("channel_swap",), segment=(2, 5)),
    "jigsaw": JigsawParams(num_clips=4),
    "counting": CountingParams(frames_per_kind=(1, 1)),
}


def sample(
    task: str,
    size: tuple[int, int],
    num_frames: int,
    params: dict[str, TaskParams],
    frames: Frames | None = None,
) -> Sample:
    """Return a sample of blue frames; frame number n has green n + 50."""
    height, width = size
    times_s = np.arange(num_frames) * 0.25
    video = SampledVideo("a/plain.mp4", "pyav", 30.0, np.arange(num_frames), times_s, height, width)
    recipe = make_recipe(0, videos=[video], mix={task: 1}, params_by_task=params, seed=0)
    if frames is None:
        frames = np.zeros((num_frames, height, width, 3), np.uint8)
        frames[..., 1] = 50 + np.arange(num_frames)[:, None, None]
        frames[..., 2] = 255
    return TASKS[task].render(recipe, frames, None)


def drawn(rendered: Sample, tmp_path: Path) -> np.ndarray:
    draw_sheet(rendered, tmp_path / "sheet.png")
    return np.asarray(Image.open(tmp_path / "sheet.png"))


def blocks(rows: np.ndarray) -> int:
    """Return the number of runs of True."""
    return int(np.count_nonzero(np.diff(np.concatenate([[False], rows]).astype(int)) == 1))


def test_all_frames_are_in_order_of_presentation(tmp_path: Path) -> None:
    picture = drawn(sample("jigsaw", (64, 64), 8, SMALL), tmp_path)
    blue = (picture[..., 2] == 255) & (picture[..., 0] == 0)
    row = picture[np.flatnonzero(blue.any(1))[60]]
    greens = row[(row[:, 2] == 255) & (row[:, 0] == 0)][:, 1].astype(int) - 50
    order = [int(greens[0]), *greens[1:][np.diff(greens) != 0].tolist()]
    rendered = sample("jigsaw", (64, 64), 8, SMALL)
    assert order == [
        number for part in rendered.recipe.params["shown"] for number in (2 * part, 2 * part + 1)
    ]


def test_small_frames_are_enlarged_by_a_whole_factor_and_stay_sharp(tmp_path: Path) -> None:
    checks = np.zeros((8, 64, 64, 3), np.uint8)
    checks[:, ::2, ::2] = (0, 0, 255)
    rendered = sample("jigsaw", (64, 64), 8, SMALL, checks)
    picture = drawn(rendered, tmp_path)
    enlarged = checks[0].repeat(2, axis=0).repeat(2, axis=1)
    rows, columns = np.nonzero((picture == (0, 0, 255)).all(-1))
    top, left = rows.min(), columns.min()
    np.testing.assert_array_equal(picture[top : top + 128, left : left + 128], enlarged)


@pytest.mark.parametrize("task", ["grounding", "counting"])
def test_edited_frames_and_no_others_have_a_border(task: str, tmp_path: Path) -> None:
    rendered = sample(task, (64, 64), 8, SMALL)
    picture = drawn(rendered, tmp_path)
    orange = (picture == ORANGE).all(-1)
    widest = orange.sum(1).max()  # a row along the upper borders
    edited = TASKS[task].edited(rendered.recipe)[0]
    border_px = 128 + 2 * 4
    assert widest == len(edited) * border_px


def test_a_jigsaw_has_no_border(tmp_path: Path) -> None:
    assert not (drawn(sample("jigsaw", (64, 64), 8, SMALL), tmp_path) == ORANGE).all(-1).any()


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (384, 160), (160, 384), (32, 512)])
@pytest.mark.parametrize(
    ("task", "num_clips"), [("grounding", 1), ("jigsaw", 2), ("jigsaw", 6), ("jigsaw", 8)]
)
def test_sheets_of_all_sizes_keep_their_margins(
    task: str, num_clips: int, size: tuple[int, int], tmp_path: Path
) -> None:
    params: dict[str, TaskParams] = {"jigsaw": JigsawParams(num_clips=max(2, num_clips))}
    picture = drawn(sample(task, size, 48, params), tmp_path)
    assert 900 <= picture.shape[1] <= 1600
    margin = picture[:, : 28 - 4], picture[:, -(28 - 4) :], picture[:8]
    assert all((part == WHITE).all() for part in margin)
    edited = 0 if task == "jigsaw" else len(TASKS[task].edited(sample(task, size, 48, params).recipe)[0])
    blue = (picture[..., 2] == 255) & (picture[..., 0] == 0)
    rows = blue.any(1)
    num_frames = sum(
        blocks(blue[start])
        for start in np.flatnonzero(np.diff(np.concatenate([[False], rows]).astype(int)) == 1)
    )
    assert num_frames >= 48 - edited  # Frames with exchanged channels may have any colour.


def test_a_long_question_is_wrapped_and_a_long_word_broken(tmp_path: Path) -> None:
    rendered = sample("counting", (64, 64), 8, SMALL)
    short = drawn(rendered, tmp_path)
    long = Sample(rendered.recipe, rendered.clips, (0, "why " * 100 + "x" * 500))
    tall = drawn(long, tmp_path)
    assert tall.shape[1] == short.shape[1]
    assert tall.shape[0] >= short.shape[0] + 4 * 21
    assert (tall[:, -24:] == WHITE).all()


@pytest.mark.parametrize("perturbation", DESCRIPTIONS)
def test_every_anomaly_has_a_description(perturbation: str) -> None:
    times_s = np.arange(16) * 0.5
    videos = [SampledVideo(f"a/{n}.mp4", "pyav", 8.0, np.arange(16), times_s, 64, 64) for n in range(2)]
    params = {"grounding": GroundingParams(perturbations=(perturbation,), segment=(6, 6))}  # type: ignore[arg-type]
    recipe = make_recipe(0, videos=videos, mix={"grounding": 1}, params_by_task=params, seed=0)
    words = details(recipe)
    first_s = times_s[recipe.params["first"]]
    assert words.startswith(f"{perturbation.replace('_', ' ')}, 6 frames at {first_s:.2f} to")
    assert DESCRIPTIONS[perturbation] in words  # type: ignore[index]
    if perturbation == "swap":
        assert Path(recipe.params["other"]["video"]).name in words


def test_imported_samples_show_the_true_interval(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (64, 64), (0, 50 + number, 255)).save(tmp_path / f"{number}.png")
    clip = {
        "files": [f"{number}.png" for number in range(4)],
        "times_s": [0.0, 0.5, 1.0, 1.5],
        "height_px": 64,
        "width_px": 64,
    }
    drawn_params = {"clips": [clip], "content": [0, "When?"]}
    recipe = Recipe("grounding", str(tmp_path), IMAGES, (), (), 64, 64, drawn_params, 0, "0.5-1.5")
    picture = drawn(render(recipe), tmp_path)
    orange = (picture == ORANGE).all(-1)
    assert orange.sum(1).max() == 2 * (128 + 2 * 4)
