"""Tests of PromptWorker: a prompt depends only on its number, and unreadable videos are skipped."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from actors.workers.prompt_worker import PromptSpec, PromptWorker
from dataset.scan import scan
from pretext.scenes import draw_videos
from pretext.source import Split, StreamSource
from pretext.tasks import TASKS
from pretext.video.frames import FrameSpec, SampledVideo
from rollout.prompt import PromptError

TinyFolder = Callable[[str], Path]
FRAMES = FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("videos")
    draw_videos(found, count=4, seed=0)
    return found


@pytest.fixture
def spec(tiny_folder: TinyFolder, folder: Path) -> PromptSpec:
    videos = scan(folder, FRAMES).usable
    return PromptSpec(
        model_path=str(tiny_folder("qwen3_vl")),
        source=StreamSource(
            videos={"train": videos[:3], "held_out": videos[3:]},
            mix={"grounding": 1, "jigsaw": 1},
            params_by_task={
                "grounding": TASKS["grounding"].Params(segment=(2, 4)),
                "jigsaw": TASKS["jigsaw"].Params(num_clips=4),
            },
            seed=3,
        ),
        system_prompt="Answer directly.",
        max_prompt_tokens=1000,
    )


def videos_of(spec: PromptSpec) -> Mapping[Split, Sequence[SampledVideo]]:
    assert isinstance(spec.source, StreamSource)
    return spec.source.videos


def with_videos(spec: PromptSpec, videos: Mapping[Split, Sequence[SampledVideo]]) -> PromptSpec:
    assert isinstance(spec.source, StreamSource)
    return dataclasses.replace(spec, source=dataclasses.replace(spec.source, videos=videos))


def test_a_prompt_is_the_same_in_every_worker(spec: PromptSpec) -> None:
    one, two = PromptWorker(spec), PromptWorker(spec)
    for index in (5, 0, 3):
        (meta, engine, model), (again, same_engine, same_model) = (
            one.make("train", index),
            two.make("train", index),
        )
        assert meta == again
        assert engine.token_ids == same_engine.token_ids
        assert all(np.array_equal(a, b) for a, b in zip(engine.videos, same_engine.videos, strict=True))
        assert np.array_equal(model.patches, same_model.patches)


def test_a_prompts_meta_describes_it(spec: PromptSpec) -> None:
    meta, engine, model = PromptWorker(spec).make("train", 1)
    recipe = meta.recipe
    assert (meta.split, meta.index, meta.skipped) == ("train", 1, ())
    assert meta.task == recipe.task == "jigsaw"
    assert meta.truth == recipe.truth
    assert meta.num_tokens == len(model.token_ids) == len(engine.expanded_token_ids)
    assert meta.question.count("[video]") == len(engine.videos) == 4


def test_splits_have_different_videos_and_recipes(spec: PromptSpec) -> None:
    worker = PromptWorker(spec)
    recipes = {split: [worker.make(split, i)[0].recipe for i in range(4)] for split in videos_of(spec)}
    videos = {split: {recipe.video for recipe in found} for split, found in recipes.items()}
    assert len(videos["train"]) == 3
    assert not videos["train"] & videos["held_out"]
    shared = with_videos(spec, {"train": videos_of(spec)["train"], "held_out": videos_of(spec)["train"]})
    same_video = PromptWorker(shared)
    assert same_video.make("train", 0)[0].recipe != same_video.make("held_out", 0)[0].recipe


def test_a_task_can_be_chosen(spec: PromptSpec) -> None:
    worker = PromptWorker(spec)
    assert {worker.make("held_out", index, "jigsaw")[0].task for index in range(3)} == {"jigsaw"}


def test_an_unreadable_video_is_skipped_and_named(spec: PromptSpec, tmp_path: Path) -> None:
    good, *rest = videos_of(spec)["train"]
    bad = [dataclasses.replace(info, path=str(tmp_path / f"gone{n}.mp4")) for n, info in enumerate(rest)]
    worker = PromptWorker(with_videos(spec, {"train": [good, *bad], "held_out": []}))
    made = [worker.make("train", index)[0] for index in range(6)]
    assert {meta.recipe.video for meta in made} == {good.path}
    assert [meta.task for meta in made] == ["grounding", "jigsaw"] * 3  # the mix stays the same
    assert any(meta.skipped for meta in made)
    assert all("gone" in reason for meta in made for reason in meta.skipped)


def test_twenty_unreadable_videos_in_a_row_are_an_error(spec: PromptSpec, tmp_path: Path) -> None:
    bad = [dataclasses.replace(info, path=str(tmp_path / "gone.mp4")) for info in videos_of(spec)["train"]]
    worker = PromptWorker(with_videos(spec, {"train": bad, "held_out": []}))
    with pytest.raises(ValueError, match=r"20 videos in a row could not be read, the last: .*gone\.mp4"):
        worker.make("train", 0)


def test_a_prompt_that_is_too_long_is_refused(spec: PromptSpec) -> None:
    worker = PromptWorker(dataclasses.replace(spec, max_prompt_tokens=20))
    with pytest.raises(PromptError, match="over the limit of 20"):
        worker.make("train", 0)
