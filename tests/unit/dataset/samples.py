"""Small datasets of all tasks, from videos with even and with uneven frame times."""

from pathlib import Path

import numpy as np

from dataset.scan import scan
from dataset.store import Dataset, videos_table, write_dataset
from pretext.scenes import draw_videos
from pretext.stream import make_recipe
from pretext.tasks.counting import CountingParams
from pretext.tasks.grounding import GroundingParams
from pretext.tasks.jigsaw import JigsawParams
from pretext.tasks.task import TaskParams
from pretext.video.frames import FrameSpec
from tests.unit.pretext.made import X264, grey_frames, write_video

SPEC = FrameSpec(num_frames=12, min_pixels=64 * 64, max_pixels=64 * 64)
UNEVEN_S = np.cumsum([0.25, *([0.04] * 30), *([0.2] * 20), *([0.08] * 29)]).round(3)
PARAMS: dict[str, TaskParams] = {
    "grounding": GroundingParams(perturbations=("channel_swap", "zoom_out", "invert"), segment=(2, 5)),
    "counting": CountingParams(frames_per_kind=(1, 2), min_distance=2),
    "jigsaw": JigsawParams(num_clips=3),
}
INVERTED: dict[str, TaskParams] = {"grounding": GroundingParams(perturbations=("invert",), segment=(1, 7))}


def scenes_dataset(folder: Path, count: int = 9) -> Dataset:
    """Write FOLDER/dataset with samples of all tasks in turn, from three drawn scenes in FOLDER/videos."""
    draw_videos(folder / "videos", count=3, seed=4)
    return _dataset(folder, count, dict.fromkeys(PARAMS, 1.0), PARAMS)


def uneven_dataset(folder: Path, count: int) -> Dataset:
    """Write a dataset of inverted segments in a dark video with a varying frame rate: light frames are altered."""
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "uneven.mp4", grey_frames(80, step=1), UNEVEN_S, options=X264)
    return _dataset(folder, count, {"grounding": 1.0}, INVERTED)


def _dataset(folder: Path, count: int, mix: dict[str, float], params: dict[str, TaskParams]) -> Dataset:
    videos = scan(folder / "videos", SPEC, num_workers=1).usable
    recipes = [
        make_recipe(index, videos=videos, mix=mix, params_by_task=params, seed=0) for index in range(count)
    ]
    write_dataset(folder / "dataset", recipes, videos=videos_table(videos))
    return Dataset(folder / "dataset")
