"""Test that the example task in docs/tasks.md works."""

import re
from pathlib import Path
from typing import Any

import numpy as np

import reward
from pretext import stream
from pretext.scenes import draw_videos
from pretext.stream import make_recipe, render
from pretext.tasks import TASKS
from pretext.video.cache import FrameCache
from pretext.video.frames import FrameSpec
from pretext.video.inspect_video import inspect

DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_task_works(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(stream, "TASKS", TASKS.copy())
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tasks.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    scope: dict[str, Any] = {}
    try:
        for block in blocks:
            exec(compile(block, "docs/tasks.md", "exec"), scope)
        stream.TASKS["backwards"] = scope["Backwards"]()
        (path,) = draw_videos(tmp_path, count=1, seed=0)
        video = inspect(str(path), FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096))
        whole = {"jigsaw": TASKS["jigsaw"].Params(num_clips=2)}
        for index in range(20):
            recipe = make_recipe(index, videos=[video], mix={"backwards": 1}, params_by_task={}, seed=0)
            clip = render(recipe, FrameCache(0)).clips[0].frames
            halves = render(make_recipe(0, videos=[video], mix={"jigsaw": 1}, params_by_task=whole, seed=0))
            parts = [halves.clips[halves.recipe.params["shown"].index(part)].frames for part in (0, 1)]
            parts[int(recipe.truth) - 1] = parts[int(recipe.truth) - 1][::-1]
            np.testing.assert_array_equal(clip, np.concatenate(parts))
            assert reward.score("backwards", recipe.truth, recipe.truth) == 1.0
            assert reward.score("backwards", str(3 - int(recipe.truth)), recipe.truth) == 0.0
            assert not reward.is_valid("backwards", "the first", recipe.truth)
    finally:
        reward.RULES.pop("backwards", None)
