"""`pretext.recipe`, and that everything made from a seed is the same in every process."""

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

ROOT = str(Path(__file__).resolve().parents[3])
RECIPE = Recipe(
    task="jigsaw",
    video="/videos/ä.mp4",
    frame_indices=(1, 3, 5, 7),
    frame_times_s=(0.1, 0.3, 0.5, 0.7),
    height_px=64,
    width_px=96,
    params={"shown": [1, 0]},
    seed=2**53 - 1,
    answer="21",
)


def test_json_goes_round_and_ids_follow_the_content() -> None:
    again = Recipe.from_json(RECIPE.to_json())
    assert again == RECIPE
    assert again.id == RECIPE.id == "b1d64fe3b7bf269b"
    assert replace(RECIPE, seed=1).id != RECIPE.id
    assert "\n" not in RECIPE.to_json()
    assert RECIPE.to_json().isascii()


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"task":"jigsaw"}', '{"frame_indices":3}'])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a recipe|Expecting value"):
        Recipe.from_json(text)


def test_generators_follow_their_words_alone() -> None:
    assert generator(7, "jigsaw").integers(10**9) == generator(7, "jigsaw").integers(10**9)
    draws = {int(generator(*words).integers(2**62)) for words in [(7, "a"), (8, "a"), (7, "b"), (7, "a", 0)]}
    assert len(draws) == 4


PROGRAM = """
import hashlib, sys
from pretext.stream import make_recipe, render
from pretext.folder import scan
from pretext.frames import FrameSpec
from pretext.tasks import TASKS
spec = FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096)
params = {"grounding": TASKS["grounding"].Params(min_segment=2, max_segment=4),
          "jigsaw": TASKS["jigsaw"].Params(num_clips=4)}
for index in range(6):
    recipe = make_recipe(index, videos=scan(sys.argv[1], spec).usable, params_by_task=params,
                         mix=dict.fromkeys(TASKS, 1.0), spec=spec, seed=5)
    sample = render(recipe)
    pixels = b"".join(clip.frames.tobytes() + clip.times_s.tobytes() for clip in sample.clips)
    print(recipe.id, hashlib.sha256(pixels).hexdigest(), sample.content)
heavy = {"torch", "ray", "vllm", "deepspeed", "fastapi", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_same_seed_same_bytes_in_another_process_and_nothing_heavy_imported(
    tmp_path: Path, encode: Callable[..., Path]
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
    encode("noise.mp4", frames, np.arange(40) / 10)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ROOT},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(set(outputs.pop().splitlines())) == 6


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
