"""`pretext.recipe`: recipes survive JSON, and everything made from a seed is the same in every process and order."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pretext.randomness import generator
from pretext.recipe import Recipe
from tests.unit.pretext.made import moving_frames

ROOT = str(Path(__file__).resolve().parents[3])
RECIPE = Recipe(
    task="jigsaw",
    video="/videos/ä.mp4",
    reader="pyav",
    frame_indices=(1, 3, 5, 7),
    frame_times_s=(0.1, 0.3, 0.5, 0.7),
    height_px=64,
    width_px=96,
    params={"shown": [1, 0]},
    seed=2**53 - 1,
    truth="21",
)


def test_a_recipe_survives_json_and_its_id_follows_from_its_content() -> None:
    again = Recipe.from_json(RECIPE.to_json())
    assert again == RECIPE
    assert again.id == RECIPE.id == "3ff4e6f0e76457bd"
    assert replace(RECIPE, seed=1).id != RECIPE.id
    assert "\n" not in RECIPE.to_json()
    assert RECIPE.to_json().isascii()


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"task":"jigsaw"}', '{"frame_indices":3}'])
def test_other_text_is_not_a_recipe(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a recipe|Expecting value"):
        Recipe.from_json(text)


def test_generators_depend_on_their_words_alone() -> None:
    assert generator(7, "jigsaw").integers(10**9) == generator(7, "jigsaw").integers(10**9)
    draws = {int(generator(*words).integers(2**62)) for words in [(7, "a"), (8, "a"), (7, "b"), (7, "a", 0)]}
    assert len(draws) == 4


PROGRAM = """
import hashlib, sys
from typing import get_args
from pretext.video.frames import FrameSpec
from pretext.video.inspect_video import inspect
from pretext.stream import make_recipe, render
from pretext.tasks import TASKS
from pretext.tasks.grounding import Perturbation
from pretext.video.sources import find_videos
spec = FrameSpec(num_frames=48, min_pixels=4096, max_pixels=4096)
params = {"grounding": TASKS["grounding"].Params(perturbations=get_args(Perturbation), balanced=True),
          "counting": TASKS["counting"].Params(balanced=True)}
videos = [inspect(path, spec) for path in find_videos(sys.argv[1])]
made = {}
for index in map(int, sys.argv[2].split(",")):
    recipe = make_recipe(index, videos=videos, params_by_task=params, seed=5,
                         mix={"grounding": 15, "jigsaw": 3, "counting": 3})
    sample = render(recipe)
    pixels = b"".join(clip.frames.tobytes() + clip.times_s.tobytes() for clip in sample.clips)
    made[index] = (recipe.to_json(), hashlib.sha256(pixels).hexdigest(), sample.content)
for index in sorted(made):
    print(index, *made[index])
heavy = {"torch", "ray", "vllm", "deepspeed", "fastapi", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_seed_gives_the_same_recipes_and_bytes_in_any_process_and_order(
    tmp_path: Path, encode: Callable[..., Path]
) -> None:
    """21 samples cover all fifteen anomalies, the jigsaw and counting, and nothing heavy is imported."""
    for seed in range(3):
        encode(f"{seed}.mp4", moving_frames(80, seed=seed), np.arange(80) / 10)
    forwards = ",".join(map(str, range(21)))
    backwards = ",".join(map(str, reversed(range(21))))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path), order],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed, order in (("1", forwards), ("2", backwards))
    }
    assert len(outputs) == 1
    (output,) = outputs
    assert len(set(output.splitlines())) == 21
    for word in ('"perturbation":"swap"', '"perturbation":"noise"', '"shown"', '"shapes"'):
        assert word in output


def test_reward_needs_only_the_standard_library() -> None:
    program = "import sys, reward; print({'numpy', 'cv2', 'pydantic', 'torch'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "set()"
