"""Tests of the checks before a run starts: the model, the videos and the number of GPUs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.config.schema import Config
from cluster.training.prepare import RunData, check_data, check_model, draw_missing_videos, model_spec
from cluster.training.ray_session import check_this_machine
from pretext.scenes import draw_videos
from pretext.source import StreamSource

TinyFolder = Callable[[str], Path]
SMALL = {"num_frames": 8, "min_pixels": 4096, "max_pixels": 4096}


def config(**data: Any) -> Config:
    tree = {"mix": {"jigsaw": 1}, "jigsaw": {"num_clips": 4}, "frames": SMALL} | data
    return build_config({"data": tree, "evaluation": {"samples_per_task": 10}})


def model(path: str | Path) -> Config:
    return build_config({"model": {"path": str(path)}})


def refusal(check: Callable[[Config], object], given: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        check(given)
    return str(caught.value)


# --- the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["tiny:qwen3_vl", "tiny:qwen2_5_vl"])
def test_tiny_models_are_accepted(path: str) -> None:
    check_model(model(path))


@pytest.mark.parametrize("architecture", ["qwen3_vl", "qwen2_5_vl"])
def test_model_folders_of_both_architectures_are_accepted(tiny_folder: TinyFolder, architecture: str) -> None:
    check_model(model(tiny_folder(architecture)))


def test_an_unknown_tiny_model_is_refused() -> None:
    said = refusal(check_model, model("tiny:llama"))
    assert said == (
        "model.path='tiny:llama': there is no such tiny model. Use tiny:qwen3_vl or tiny:qwen2_5_vl."
    )


def test_a_missing_model_folder_is_refused(tmp_path: Path) -> None:
    said = refusal(check_model, model(tmp_path / "nowhere"))
    assert said.startswith(
        f"model.path='{tmp_path}/nowhere': there is no such folder. Give a folder with a config.json"
    )


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    said = refusal(check_model, model(tmp_path))
    assert said.startswith(f"model.path='{tmp_path}': cannot be loaded (")
    assert "\n" not in said


def test_a_model_without_vision_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    )
    said = refusal(check_model, model(tmp_path))
    assert said == (
        f"model.path='{tmp_path}': is a qwen3 model, which cannot watch video or is not supported. "
        "Use a Qwen3-VL or Qwen2.5-VL model."
    )


def test_the_learner_gets_its_facts_from_the_model_folder(tiny_folder: TinyFolder) -> None:
    folder = tiny_folder("qwen3_vl")
    spec = model_spec(build_config({"rollout": {"temperature": 0.7}}), str(folder))
    assert (spec.path, spec.dtype, spec.temperature) == (str(folder), "bfloat16", 0.7)
    assert spec.pixel_mean == spec.pixel_std == (0.5, 0.5, 0.5)
    tiny = json.loads((folder / "config.json").read_text())
    assert {tiny["video_token_id"], tiny["image_token_id"]} <= set(spec.forbidden)
    assert spec.pad_token_id == tiny["text_config"]["pad_token_id"]
    assert max(spec.forbidden) == tiny["text_config"]["vocab_size"] - 1


def test_a_folder_whose_processors_disagree_is_refused(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    from transformers import AutoProcessor

    folder = tiny_folder("qwen3_vl")
    processor = AutoProcessor.from_pretrained(folder)
    processor.image_processor.image_mean = [0.48, 0.46, 0.41]
    processor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    said = refusal(lambda given: model_spec(given, str(tmp_path)), model(tmp_path))
    assert said.startswith(f"model.path='{tmp_path}': ")
    assert "Make them equal in the model folder." in said


# --- the videos ------------------------------------------------------------------------------------


def test_drawn_videos_need_no_folder() -> None:
    assert check_data(config(videos="drawn")) is None


def test_a_missing_folder_of_videos_is_refused(tmp_path: Path) -> None:
    said = refusal(check_data, config(videos=f"{tmp_path}/nowhere"))
    assert said == f"data.videos='{tmp_path}/nowhere': there is no such folder. Name one that holds videos."


def test_a_folder_without_a_usable_video_is_refused_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "notes.txt").write_text("not a video")
    said = refusal(check_data, config(videos=str(tmp_path)))
    assert f"data.videos='{tmp_path}': holds no usable video (1 skipped)." in said
    assert "of at least 8 frames" in said
    assert "\n  text.mp4: " in said
    assert "notes.txt" not in said


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of five drawn videos."""
    folder = tmp_path_factory.mktemp("videos")
    draw_videos(folder, count=5, seed=0)
    return folder


def videos_of(data: RunData | None) -> tuple[list[str], list[str]]:
    """Return the paths of the videos for training, and of the held-out videos."""
    assert data is not None
    assert isinstance(data.source, StreamSource)
    train, held_out = ([video.path for video in data.source.videos[split]] for split in ("train", "held_out"))
    assert (data.num_train, data.num_held_out) == (len(train), len(held_out))
    return train, held_out


@pytest.mark.parametrize(("share", "num_held_out"), [(0.2, 1), (0.4, 2), (0.99, 4)])
def test_held_out_videos_are_not_trained_on(drawn: Path, share: float, num_held_out: int) -> None:
    train, held_out = videos_of(check_data(config(videos=str(drawn), held_out_share=share)))
    assert (len(train), len(held_out)) == (5 - num_held_out, num_held_out)
    assert not set(train) & set(held_out)
    assert videos_of(check_data(config(videos=str(drawn), held_out_share=share))) == (train, held_out)


def test_too_few_videos_are_both_trained_and_evaluated_on(drawn: Path) -> None:
    train, held_out = videos_of(check_data(config(videos=str(drawn), held_out_share=0.05)))
    assert train == held_out
    assert len(train) == 5


def test_drawn_training_and_held_out_videos_differ(tmp_path: Path) -> None:
    from pretext.video import read_frames

    train, held_out = videos_of(draw_missing_videos(config(num_drawn=2, num_drawn_held_out=2), tmp_path))
    assert (len(train), len(held_out)) == (2, 2)
    pictures = [read_frames(path, [0], height_px=64, width_px=64) for path in train + held_out]
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert all(picture.dtype == np.uint8 for picture in pictures)


@pytest.mark.parametrize("jigsaw_clips", [2, 4])
def test_a_prompt_may_show_as_many_clips_as_a_jigsaw_has(drawn: Path, jigsaw_clips: int) -> None:
    given = config(videos=str(drawn), jigsaw={"num_clips": jigsaw_clips})
    found = check_data(given)
    assert found is not None
    assert found.max_clips == jigsaw_clips
    without = check_data(config(videos=str(drawn), mix={"grounding": 1}, grounding={"segment": [2, 4]}))
    assert without is not None
    assert without.max_clips == 1


# --- the GPUs --------------------------------------------------------------------------------------


def test_too_few_gpus_are_refused_before_ray_starts() -> None:
    import ray
    import torch

    given = build_config(
        {"cluster": {"address": "local"}, "learner": {"num_workers": 40}, "rollout": {"num_workers": 3}}
    )
    with pytest.raises(ConfigError) as caught:
        check_this_machine(given)
    assert str(caught.value).startswith(
        "learner.num_workers=40, rollout.num_workers=3: the run needs 43 GPU(s), this machine has "
        f"{torch.cuda.device_count()}. Lower them, join a larger cluster with cluster.address, or set "
        "cluster.device=cpu."
    )
    assert not ray.is_initialized()
