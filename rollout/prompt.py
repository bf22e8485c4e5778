"""The one place where prompts are built: token ids, positions, pixels, timestamps.

Engine and learner must see the same prompt, so both take theirs from this module. vLLM expands video placeholders and
computes positions itself: `VllmEngine` compares its token ids with ours for every request, and
`tests/contract/test_parity.py` compares the logprobs of engine and learner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

VIDEO_PLACEHOLDER = "<|vision_start|><|video_pad|><|vision_end|>"
# Tokens that stand for pixels or enclose them. A policy must not generate them: the model would look for video features
# that do not exist ("video features and video tokens do not match"). Engine and learner give them probability 0.
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


class VideoClip(Protocol):
    """Frames and their presentation times."""

    @property
    def frames(self) -> npt.NDArray[np.uint8]: ...  # [num_frames, height, width, 3] RGB

    @property
    def times_s(self) -> npt.NDArray[np.float64]: ...  # [num_frames]


@dataclass(frozen=True)
class EngineInput:
    """A prompt as vLLM takes it: token ids with one placeholder per video, and the frames."""

    token_ids: tuple[int, ...]
    expanded_token_ids: tuple[int, ...]  # what vLLM must expand `token_ids` to
    videos: tuple[npt.NDArray[np.uint8], ...]  # each [num_frames, height, width, 3]
    times_s: tuple[tuple[float, ...], ...]  # per video, per frame


@dataclass(frozen=True)
class ModelInput:
    """A prompt as the learner takes it: token ids, positions and patches for the transformers model."""

    token_ids: npt.NDArray[np.int64]  # [prompt_length], placeholders expanded
    positions: npt.NDArray[np.int64]  # [3, prompt_length]: time, height, width (M-RoPE)
    next_position: int  # position of the completion's first token, the same in all three components
    patches: npt.NDArray[np.uint8]  # [num_patches, patch_dim], not yet normalised
    grid_thw: npt.NDArray[np.int64]  # [num_videos, 3] patches in time, height, width


class PromptError(ValueError):
    """A sample that cannot become a prompt. The message says why."""


class PromptTooLong(PromptError):
    """A prompt of more tokens than `data.max_prompt_tokens`."""

    def __init__(self, num_tokens: int, limit: int) -> None:
        super().__init__(num_tokens, limit)
        self.num_tokens = num_tokens

    def __str__(self) -> str:
        num_tokens, limit = self.args
        return (
            f"prompt of {num_tokens} tokens is over the limit of {limit} (data.max_prompt_tokens): use fewer frames "
            "or pixels, or raise the limit."
        )


def forbidden_token_ids(tokenizer: Any, vocab_size: int) -> tuple[int, ...]:
    """Return the ids that must never be generated: vision tokens, and embedding rows past the vocabulary.

    Example: a model with 151 936 rows and a tokenizer of 151 669 tokens has 267 padded rows. Their ids decode to
    nothing and cannot be scored.
    """
    known = set(tokenizer.get_vocab().values())
    vision = {tokenizer.convert_tokens_to_ids(token) for token in VISION_TOKENS} & known
    return tuple(sorted(vision | (set(range(vocab_size)) - known)))


class PromptBuilder:
    """Builder of prompts: from (system text, content, clips) to the inputs of engine and learner.

    Args:
        processor: the model's Hugging Face processor (Qwen2.5-VL or Qwen3-VL).
        config: the model's Hugging Face config.
        max_prompt_tokens: limit above which a prompt is refused; prompts are never cut.

    Raises:
        ValueError: the architecture is not supported, or the processor normalises images and videos differently:
            vLLM normalises videos with the image processor's values.
    """

    def __init__(self, processor: Any, config: Any, *, max_prompt_tokens: int) -> None:
        if config.model_type not in ("qwen3_vl", "qwen2_5_vl"):
            raise ValueError(
                f"model type {config.model_type!r}: only qwen3_vl and qwen2_5_vl can be trained on video. Use one."
            )
        self._processor = processor
        self._config = config
        self._max_prompt_tokens = max_prompt_tokens
        self._timestamps_in_text = config.model_type == "qwen3_vl"
        video, image = processor.video_processor, processor.image_processor
        if list(video.image_mean) != list(image.image_mean) or list(video.image_std) != list(image.image_std):
            raise ValueError(
                f"video_preprocessor mean/std {video.image_mean}/{video.image_std} differ from the image "
                f"processor's {image.image_mean}/{image.image_std}: vLLM uses the latter for videos too and would see "
                "other pixels than the learner. Make them equal in the model folder."
            )
        self.pixel_mean = tuple(float(value) for value in video.image_mean)
        self.pixel_std = tuple(float(value) for value in video.image_std)

    def build(
        self, *, system: str, content: Sequence[str | int], clips: Sequence[VideoClip]
    ) -> tuple[EngineInput, ModelInput]:
        """Build both inputs. A number k in `content` stands for `clips[k]`.

        Raises:
            PromptTooLong: the prompt has more than `max_prompt_tokens` tokens.
            PromptError: the vision tower cannot take a clip, or the text contains a video placeholder.
        """
        pieces = self._render(system, content)
        order = [part for part in content if isinstance(part, int)]
        if len(pieces) != len(order) + 1:
            raise PromptError(
                f"the chat template shows {len(pieces) - 1} videos where the prompt has {len(order)}: the text "
                "contains a video placeholder."
            )
        videos = [np.ascontiguousarray(clips[k].frames) for k in order]
        times = [tuple(float(t) for t in clips[k].times_s) for k in order]
        patches, grids = self._patchify(videos)

        encode = self._processor.tokenizer.encode
        engine_ids: list[int] = []
        expanded: list[int] = []
        for index, piece in enumerate(pieces):
            text = encode(piece, add_special_tokens=False)
            engine_ids += text
            expanded += text
            if index < len(order):
                engine_ids += self._placeholder()
                expanded += self._expand(grids[index], times[index])
        if len(expanded) > self._max_prompt_tokens:
            raise PromptTooLong(len(expanded), self._max_prompt_tokens)
        positions = self._positions(expanded, grids, times)
        engine = EngineInput(tuple(engine_ids), tuple(expanded), tuple(videos), tuple(times))
        model = ModelInput(
            np.asarray(expanded, np.int64), positions, int(positions.max()) + 1, patches, grids
        )
        return engine, model

    def _render(self, system: str, content: Sequence[str | int]) -> list[str]:
        """Return the chat template's text, split at the videos: one piece more than there are videos."""
        parts = [
            {"type": "video"} if isinstance(part, int) else {"type": "text", "text": part} for part in content
        ]
        messages = [{"role": "user", "content": parts}]
        if system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        text: str = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text.split(VIDEO_PLACEHOLDER)

    def _patchify(
        self, videos: Sequence[npt.NDArray[np.uint8]]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Cut frames into the vision tower's patches and return them, still uint8, with their grids."""
        video_processor = self._processor.video_processor
        unit = video_processor.patch_size * video_processor.merge_size
        for video in videos:
            if video.shape[0] % video_processor.temporal_patch_size or any(
                s % unit for s in video.shape[1:3]
            ):
                raise PromptError(
                    f"clip of {video.shape[0]} frames, {video.shape[1]}x{video.shape[2]} px: frames must be a "
                    f"multiple of {video_processor.temporal_patch_size} and sides of {unit} px."
                )
        parts = [
            patchify(
                video,
                patch_px=video_processor.patch_size,
                temporal_patch=video_processor.temporal_patch_size,
                merge=video_processor.merge_size,
            )
            for video in videos
        ]
        if not parts:
            raise PromptError("the prompt has no video.")
        return np.concatenate([patches for patches, _ in parts]), np.array(
            [grid for _, grid in parts], np.int64
        )

    def _placeholder(self) -> list[int]:
        """Return the ids that vLLM replaces by a video's tokens.

        vLLM (with transformers 5.10 or newer) expands only the pad token. Qwen3-VL was trained with a pair of
        vision_start and vision_end around every temporal patch and none around the whole video, so the chat
        template's outer pair is left out for it; transformers 5.10 to 5.19 keep it.
        """
        config = self._config
        if self._timestamps_in_text:
            return [config.video_token_id]
        return [config.vision_start_token_id, config.video_token_id, config.vision_end_token_id]

    def _expand(self, grid: npt.NDArray[np.int64], times_s: Sequence[float]) -> list[int]:
        """Return one video's tokens. Qwen3-VL puts each temporal patch's mean time before it; Qwen2.5-VL does not."""
        config = self._config
        merge = config.vision_config.spatial_merge_size
        grid_t, per_step = int(grid[0]), int(grid[1] * grid[2]) // merge**2
        start, pad, end = config.vision_start_token_id, config.video_token_id, config.vision_end_token_id
        if not self._timestamps_in_text:
            return [start, *[pad] * (grid_t * per_step), end]
        span = len(times_s) // grid_t
        tokens: list[int] = []
        for step in range(grid_t):
            time_s = (times_s[step * span] + times_s[(step + 1) * span - 1]) / 2
            tokens += self._processor.tokenizer.encode(f"<{time_s:.1f} seconds>", add_special_tokens=False)
            tokens += [start, *[pad] * per_step, end]
        return tokens

    def _positions(
        self, token_ids: Sequence[int], grids: npt.NDArray[np.int64], times_s: Sequence[Sequence[float]]
    ) -> npt.NDArray[np.int64]:
        """Return M-RoPE positions [3, length]: text counts up, a run of video tokens is a (time, height, width) grid.

        The token after a video has the video's largest position + 1. That is the models' reference rule; for
        Qwen2.5-VL, transformers 5.19 uses max(height, width) instead. In Qwen3-VL every temporal patch is a separate
        run. In Qwen2.5-VL a video is one run, whose time axis is seconds x tokens_per_second, rounded down.
        """
        merge = self._config.vision_config.spatial_merge_size
        runs: list[tuple[int, int, int, float]] = []  # (time, height, width, positions per time step)
        for grid, times in zip(grids.tolist(), times_s, strict=True):
            grid_t, grid_h, grid_w = grid[0], grid[1] // merge, grid[2] // merge
            if self._timestamps_in_text:
                runs += [(1, grid_h, grid_w, 1.0)] * grid_t
            else:
                scale = self._config.vision_config.tokens_per_second * seconds_per_grid(times)
                runs.append((grid_t, grid_h, grid_w, scale))
        blocks: list[npt.NDArray[np.int64]] = []
        index = next_position = 0
        remaining = iter(runs)
        while index < len(token_ids):
            if token_ids[index] == self._config.video_token_id:
                grid_t, grid_h, grid_w, scale = next(remaining)
                block = np.indices((grid_t, grid_h, grid_w)).reshape(3, -1)
                block[0] = (block[0] * scale).astype(np.int64)
            else:
                block = np.zeros((3, 1), np.int64)
            blocks.append(block + next_position)
            index += block.shape[1]
            next_position = int(blocks[-1].max()) + 1
        return np.concatenate(blocks, axis=1)


def patchify(
    video: npt.NDArray[np.uint8], *, patch_px: int, temporal_patch: int, merge: int
) -> tuple[npt.NDArray[np.uint8], tuple[int, int, int]]:
    """Return frames [num_frames, height, width, 3] as the vision tower's patches, and their (time, height, width) grid.

    The layout is that of Qwen's video processor (a unit test compares them): patches of one merge block follow each
    other, and a patch is [channel, frame of the temporal patch, row, column], flattened. We do it ourselves because
    it is one copy of 100 kB where the processor takes 5 ms, and because the result stays uint8.
    """
    num_frames, height, width, channels = video.shape
    grid = (num_frames // temporal_patch, height // patch_px, width // patch_px)
    blocks = video.reshape(
        grid[0],
        temporal_patch,
        grid[1] // merge,
        merge,
        patch_px,
        grid[2] // merge,
        merge,
        patch_px,
        channels,
    )
    # (time, block row, block column, row in block, column in block), then the patch itself.
    ordered = blocks.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return ordered.reshape(grid[0] * grid[1] * grid[2], -1), grid


def video_metadata(times_s: Sequence[float], temporal_patch: int = 2) -> dict[str, Any]:
    """Return metadata with which vLLM's and transformers' processors use exactly these frame times.

    They compute a frame's time as index / fps, so with fps 1 the indices are seconds. They compute the sampling rate
    (for Qwen2.5-VL's time axis) as num_frames * fps / total_num_frames, so the total is chosen to give that rate.
    """
    return {
        "fps": 1.0,
        "frames_indices": list(times_s),
        "total_num_frames": len(times_s) * _mean_seconds_per_grid(times_s, temporal_patch) / temporal_patch,
        "duration": times_s[-1] - times_s[0],
        "video_backend": "videossr",
        "do_sample_frames": False,
    }


def seconds_per_grid(times_s: Sequence[float], temporal_patch: int = 2) -> float:
    """Return the seconds between two temporal patches, rounded to float32 as the processors do."""
    metadata = video_metadata(times_s, temporal_patch)
    sampled_fps = len(times_s) / metadata["total_num_frames"] * metadata["fps"]
    return float(np.float32(temporal_patch / sampled_fps))


def _mean_seconds_per_grid(times_s: Sequence[float], temporal_patch: int) -> float:
    steps = len(times_s) // temporal_patch - 1
    return (times_s[-temporal_patch] - times_s[0]) / steps if steps else 1.0
