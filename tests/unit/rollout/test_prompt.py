"""Tests of rollout.prompt: positions by hand, comparison with transformers' processors, and refused prompts."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pretext.recipe import Clip
from rollout.prompt import (
    VISION_TOKENS,
    EngineInput,
    ModelInput,
    PromptBuilder,
    PromptError,
    forbidden_token_ids,
    seconds_per_grid,
    video_metadata,
)

TinyFolder = Callable[[str], Path]
BothArchitectures = pytest.mark.parametrize("architecture", ["qwen3_vl", "qwen2_5_vl"])


def load(folder: Path) -> tuple[Any, Any]:
    """Return (processor, config) of a model folder."""
    from transformers import AutoConfig, AutoProcessor

    return AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder)


def builder_of(folder: Path, *, max_prompt_tokens: int = 1000) -> PromptBuilder:
    return PromptBuilder(*load(folder), max_prompt_tokens=max_prompt_tokens)


def clip(times_s: Sequence[float], height: int = 64, width: int = 64, seed: int = 0) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(rng.integers(0, 256, (len(times_s), height, width, 3), np.uint8), np.array(times_s))


def build(
    folder: Path, content: Sequence[str | int], clips: Sequence[Clip]
) -> tuple[EngineInput, ModelInput]:
    return builder_of(folder).build(system="Answer directly.", content=content, clips=clips)


def for_transformers(times_s: Sequence[float]) -> Any:
    """Return `video_metadata` as transformers takes it: without `do_sample_frames`, which only vLLM reads."""
    from transformers.video_utils import VideoMetadata

    given = video_metadata(times_s)
    assert given.pop("do_sample_frames") is False
    return VideoMetadata(**given)


def video_columns(folder: Path, prompt: ModelInput) -> np.ndarray:
    _, config = load(folder)
    return np.flatnonzero(prompt.token_ids == config.video_token_id)


# --- positions -------------------------------------------------------------------------------------


def test_qwen3_positions_by_hand(tiny_folder: TinyFolder) -> None:
    # 4 frames of 64x96: 2 temporal patches, each a grid of 2 x 3 tokens after its timestamp.
    _, prompt = build(tiny_folder("qwen3_vl"), (0, "When?"), [clip((0.0, 0.5, 1.0, 1.5), 64, 96)])
    columns = video_columns(tiny_folder("qwen3_vl"), prompt)
    first, second = columns[:6], columns[6:]
    assert len(columns) == 12
    for run in (first, second):
        start = int(prompt.positions[0, run[0] - 1]) + 1  # right after vision_start
        assert prompt.positions[0, run].tolist() == [start] * 6
        assert (prompt.positions[1, run] - start).tolist() == [0, 0, 0, 1, 1, 1]
        assert (prompt.positions[2, run] - start).tolist() == [0, 1, 2, 0, 1, 2]
        # The grid is 3 wide, so text continues 3 positions later, after 6 tokens.
        assert prompt.positions[:, run[-1] + 1].tolist() == [start + 3] * 3
    assert prompt.next_position == len(prompt.token_ids) - 2 * (6 - 3)


@pytest.mark.parametrize(
    ("times_s", "time_axis"),
    [
        ((0.0, 0.5, 1.0, 1.5, 2.0, 2.5), (0, 2, 4)),  # 1 s from patch to patch, 2 positions per second
        ((0.0, 0.3, 0.6, 0.9, 1.2, 1.5), (0, 1, 2)),  # 0.6 s: 0, 1.2, 2.4
        ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), (0, 4, 8)),
    ],
)
def test_qwen2_5_positions_by_hand(
    tiny_folder: TinyFolder, times_s: tuple[float, ...], time_axis: tuple[int, ...]
) -> None:
    # 6 frames of 64x64: one run of 3 x 2 x 2 tokens whose time axis is in half seconds.
    folder = tiny_folder("qwen2_5_vl")
    _, prompt = build(folder, (0, "When?"), [clip(times_s)])
    columns = video_columns(folder, prompt)
    start = int(prompt.positions[0, columns[0] - 1]) + 1
    assert (prompt.positions[0, columns] - start).tolist() == [t for t in time_axis for _ in range(4)]
    assert (prompt.positions[1, columns] - start).tolist() == [0, 0, 1, 1] * 3
    assert (prompt.positions[2, columns] - start).tolist() == [0, 1, 0, 1] * 3
    # Text continues after the largest position of the grid, in time or in space.
    after = start + max(time_axis[-1], 1) + 1
    assert prompt.positions[:, columns[-1] + 1].tolist() == [after] * 3


@BothArchitectures
def test_text_positions_are_equal_in_all_three_components(tiny_folder: TinyFolder, architecture: str) -> None:
    folder = tiny_folder(architecture)
    _, prompt = build(folder, ("one", 0, "two", 1, "three"), [clip((0.0, 0.5)), clip((0.0, 0.5), 96, 64)])
    is_text = np.ones(len(prompt.token_ids), bool)
    is_text[video_columns(folder, prompt)] = False
    text = prompt.positions[:, is_text]
    assert (text[0] == text[1]).all()
    assert (text[0] == text[2]).all()
    assert text[0, 0] == 0
    steps = [b - a for a, b in pairwise(text[0].tolist())]
    assert set(steps) == {1, 3, 4}  # after a grid of 2 x 2 tokens: 1 + 2; of 3 x 2: 1 + 3
    assert prompt.next_position == text[0, -1] + 1


def test_qwen3_positions_equal_those_of_transformers(tiny_folder: TinyFolder) -> None:
    from transformers import AutoModelForImageTextToText

    folder = tiny_folder("qwen3_vl")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    clips = [
        clip((0.0, 0.5, 1.0, 1.5), 64, 96),
        clip((0.0, 2.0)),
        clip((3.0, 3.1, 3.2, 3.3, 3.4, 3.5), 96, 64),
    ]
    _, prompt = build(folder, ("Order these.", 0, 1, "and", 2, "Which?"), clips)
    ids = torch.from_numpy(prompt.token_ids)[None]
    positions, deltas = model.model.get_rope_index(
        input_ids=ids,
        mm_token_type_ids=(ids == model.config.video_token_id).int() * 2,
        video_grid_thw=torch.from_numpy(prompt.grid_thw),
        attention_mask=torch.ones_like(ids),
    )
    assert positions[:, 0].tolist() == prompt.positions.tolist()
    assert int(deltas) == prompt.next_position - len(prompt.token_ids)


# --- tokens, times and pixels ----------------------------------------------------------------------


@BothArchitectures
def test_tokens_and_pixels_equal_those_of_the_processor(tiny_folder: TinyFolder, architecture: str) -> None:
    processor, config = load(tiny_folder(architecture))
    builder = PromptBuilder(processor, config, max_prompt_tokens=1000)
    clips = [clip((0.2, 0.71, 1.1, 1.75), 64, 96), clip((5.0, 6.5), seed=1)]
    content = ("First", 0, "then", 1, "What?")
    engine, model = builder.build(system="Answer directly.", content=content, clips=clips)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Answer directly."}]},
        {
            "role": "user",
            "content": [
                {"type": "video"} if isinstance(part, int) else {"type": "text", "text": part}
                for part in content
            ],
        },
    ]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if architecture == "qwen3_vl":  # transformers 5.10 to 5.19 keep a pair around the video, vLLM does not
        text = text.replace("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>")
    out = processor(
        text=[text],
        videos=[entry.frames.transpose(0, 3, 1, 2) for entry in clips],
        video_metadata=[for_transformers(entry.times_s.tolist()) for entry in clips],
        do_resize=False,
        do_sample_frames=False,
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
    )
    assert out["input_ids"][0].tolist() == model.token_ids.tolist() == list(engine.expanded_token_ids)
    assert out["video_grid_thw"].tolist() == model.grid_thw.tolist() == [[2, 4, 6], [1, 4, 4]]
    assert torch.equal(out["pixel_values_videos"], torch.from_numpy(model.patches))
    if architecture == "qwen2_5_vl":
        expected = [seconds_per_grid(entry.times_s.tolist()) for entry in clips]
        assert [float(np.float32(value)) for value in out["second_per_grid_ts"]] == expected


def test_qwen3_prompts_have_the_mean_time_of_each_patch(tiny_folder: TinyFolder) -> None:
    folder = tiny_folder("qwen3_vl")
    _, prompt = build(folder, (0, "When?"), [clip((0.2, 0.71, 1.1, 1.75))])
    text = load(folder)[0].tokenizer.decode(prompt.token_ids)
    pads = "<|vision_start|>" + "<|video_pad|>" * 4 + "<|vision_end|>"
    assert f"user\n<0.5 seconds>{pads}<1.4 seconds>{pads}When?<|im_end|>" in text
    assert text.startswith("<|im_start|>system\nAnswer directly.<|im_end|>")
    assert text.endswith("<|im_start|>assistant\n")


@BothArchitectures
def test_the_engine_gets_one_placeholder_per_video_and_unchanged_frames(
    tiny_folder: TinyFolder, architecture: str
) -> None:
    folder = tiny_folder(architecture)
    clips = [clip((0.0, 0.5), seed=1), clip((7.0, 7.25, 7.5, 7.75), 96, 64, seed=2)]
    engine, _ = build(folder, (1, "and", 0), clips)  # the videos have the order of the content
    _, config = load(folder)
    assert engine.token_ids.count(config.video_token_id) == 2
    assert [video.shape for video in engine.videos] == [(4, 96, 64, 3), (2, 64, 64, 3)]
    assert (engine.videos[0] == clips[1].frames).all()
    assert engine.times_s == ((7.0, 7.25, 7.5, 7.75), (0.0, 0.5))


def test_video_metadata_gives_exactly_our_times() -> None:
    times_s = (0.0, 0.4, 1.3, 1.5, 2.2, 2.9)
    metadata = for_transformers(times_s)
    assert metadata.timestamps == list(times_s)
    # 2.2 s from the start of the first patch to that of the last, in two steps.
    assert 2 / metadata.sampled_fps == pytest.approx(1.1, rel=1e-12)


@pytest.mark.parametrize(
    ("times_s", "seconds"),
    [((0.0, 0.5, 1.0, 1.5), 1.0), ((3.0, 3.2, 3.4, 3.6), 0.4), ((2.0, 9.0), 1.0), ((0, 1, 3, 4, 7, 8), 3.5)],
)
def test_seconds_per_grid_by_hand(times_s: tuple[float, ...], seconds: float) -> None:
    assert seconds_per_grid(times_s) == pytest.approx(seconds, rel=1e-7)


# --- forbidden token ids ---------------------------------------------------------------------------


def test_forbidden_ids_are_vision_tokens_and_padded_rows() -> None:
    vocabulary = {"a": 0, "b": 1, **{token: 2 + n for n, token in enumerate(VISION_TOKENS)}, "<|im_end|>": 7}
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary, convert_tokens_to_ids=vocabulary.get)
    assert forbidden_token_ids(tokenizer, 10) == (2, 3, 4, 5, 6, 8, 9)


@BothArchitectures
def test_forbidden_ids_of_a_model_folder(tiny_folder: TinyFolder, architecture: str) -> None:
    processor, config = load(tiny_folder(architecture))
    forbidden = forbidden_token_ids(processor.tokenizer, config.text_config.vocab_size)
    assert config.video_token_id in forbidden
    assert config.image_token_id in forbidden
    assert config.vision_start_token_id in forbidden
    assert processor.tokenizer.eos_token_id not in forbidden
    assert len(forbidden) == len(VISION_TOKENS) + config.text_config.vocab_size - len(processor.tokenizer)
    text = processor.tokenizer.encode("1.5-3.0 seconds, 2413", add_special_tokens=False)
    assert not set(text) & set(forbidden)


def test_a_vocabulary_may_lack_vision_tokens() -> None:
    vocabulary = {"a": 0, "<|video_pad|>": 1}
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary, convert_tokens_to_ids=vocabulary.get)
    assert forbidden_token_ids(tokenizer, 2) == (1,)


# --- what is refused -------------------------------------------------------------------------------


def test_a_prompt_above_the_limit_is_refused_and_one_at_the_limit_is_not(tiny_folder: TinyFolder) -> None:
    folder, clips = tiny_folder("qwen3_vl"), [clip((0.0, 0.5))]
    length = len(build(folder, (0, "When?"), clips)[1].token_ids)
    fitting = builder_of(folder, max_prompt_tokens=length)
    assert (
        len(fitting.build(system="Answer directly.", content=(0, "When?"), clips=clips)[1].token_ids)
        == length
    )
    too_small = builder_of(folder, max_prompt_tokens=length - 1)
    with pytest.raises(
        PromptError, match=rf"prompt of {length} tokens is over the limit of {length - 1}.*data.max"
    ):
        too_small.build(system="Answer directly.", content=(0, "When?"), clips=clips)


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 64, 64), (4, 48, 64), (4, 64, 80), (1, 64, 64)])
def test_a_clip_that_the_vision_tower_cannot_take_is_refused(
    tiny_folder: TinyFolder, frames: int, height: int, width: int
) -> None:
    with pytest.raises(PromptError, match=rf"{frames} frames, {height}x{width} px.*multiple of 2.*32 px"):
        build(tiny_folder("qwen3_vl"), (0,), [clip(tuple(range(frames)), height, width)])


@pytest.mark.parametrize("name", ["image_mean", "image_std"])
def test_processors_that_normalise_differently_are_refused(tiny_folder: TinyFolder, name: str) -> None:
    processor, config = load(tiny_folder("qwen3_vl"))
    setattr(processor.image_processor, name, [0.48, 0.46, 0.41])
    with pytest.raises(ValueError, match=r"0\.48.*vLLM.*Make them equal"):
        PromptBuilder(processor, config, max_prompt_tokens=100)


def test_another_architecture_is_refused(tiny_folder: TinyFolder) -> None:
    processor, _ = load(tiny_folder("qwen3_vl"))
    with pytest.raises(ValueError, match="'llama': only qwen3_vl and qwen2_5_vl"):
        PromptBuilder(processor, SimpleNamespace(model_type="llama"), max_prompt_tokens=100)


def test_a_question_with_a_placeholder_in_its_text_is_refused(tiny_folder: TinyFolder) -> None:
    content = (0, "What is <|vision_start|><|video_pad|><|vision_end|>?")
    with pytest.raises(PromptError, match="shows 2 videos where the prompt has 1"):
        build(tiny_folder("qwen3_vl"), content, [clip((0.0, 0.5))])
