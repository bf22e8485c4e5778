"""What a run needs before it starts: a reward function, a model, videos, and a warm start for a random model."""

import itertools
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.controller.step_metrics import Stopwatch
from actors.workers.prompt_worker import PromptSpec, PromptWorker, read_model_facts
from cluster.config.errors import ConfigError
from cluster.config.schema import DRAWN, TINY_PREFIX, Config
from cluster.runs.stored_run import StoredRun
from cluster.terminal import CountingProgress, Say
from dataset.scan import none_usable, scan
from dataset.source import DatasetSource
from learner.modeling.policy_model import ModelSpec
from learner.warmup import WarmupProgress, WarmupSample, warm_up
from pretext.scenes import draw_videos
from pretext.source import RecipeSource, Split, StreamSource
from pretext.video.frames import SampledVideo
from pretext.video.info import Skipped
from pretext.video.sources import FolderError
from reward import is_valid, score
from reward.custom import load_reward
from rollout.prompt import PromptError, PromptTooLong
from vocabulary import events
from vocabulary.problems import NO_VALUE
from vocabulary.stages import LOOKING_AT_VIDEOS, WARMING_UP
from vocabulary.text import first_line

logger = logging.getLogger(__name__)

_MAX_SHOWN_SKIPPED = 10  # number of skipped videos on the terminal; the run's record has all of them
_MODEL_TYPES = ("qwen3_vl", "qwen2_5_vl")
_MODEL_FIX = "Give a folder with a config.json, or a hub id such as Qwen/Qwen3-VL-2B-Instruct"
_WARMUP_HELD_OUT = 96  # number of samples per task whose scores decide when the warm-up ends
_WARMUP_REPORT_STEPS = 40  # number of steps between two lines of progress
# Numbers of the first warm-up samples, far from those that GRPO trains on.
_FIRST_WARMUP_SAMPLE, _FIRST_WARMUP_HELD_OUT = 2**32, 2**33


@dataclass(frozen=True)
class RunData:
    """The source of a run's prompts, and how many videos it has."""

    source: RecipeSource
    num_train: int  # number of videos to train on
    num_held_out: int  # number of videos to evaluate on
    max_clips: int  # largest number of clips in one prompt
    skipped: tuple[Skipped, ...] = ()  # videos that cannot be used


def check_reward(config: Config) -> None:
    """Load the user's reward function once, with the import path that the reward workers will have.

    Raises:
        ConfigError: the function cannot be loaded.
    """
    if config.reward.function is None:
        return
    if os.getcwd() not in sys.path:  # `python -m` and Ray workers have it there too
        sys.path.insert(0, os.getcwd())
    try:
        load_reward(config.reward.function)
    except ValueError as error:
        raise ConfigError("reward.function", config.reward.function, str(error)) from None


def check_model(config: Config) -> None:
    """Check that the model can be trained on video. Its config is read, but not its weights.

    Raises:
        ConfigError: the model cannot be found, or its type is not supported.
    """
    path = config.model.path
    if path.startswith(TINY_PREFIX):
        if path.removeprefix(TINY_PREFIX) not in _MODEL_TYPES:
            raise ConfigError(
                "model.path", path, "there is no such tiny model", "Use tiny:qwen3_vl or tiny:qwen2_5_vl"
            )
        return
    if path.startswith(("/", ".")) and not Path(path).is_dir():
        raise ConfigError("model.path", path, "there is no such folder", _MODEL_FIX)
    from transformers import AutoConfig

    try:
        model_type = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError) as error:
        raise ConfigError("model.path", path, f"cannot be loaded ({first_line(error)})", _MODEL_FIX) from None
    if model_type not in _MODEL_TYPES:
        raise ConfigError(
            "model.path",
            path,
            f"is a {model_type} model, which cannot watch video or is not supported",
            "Use a Qwen3-VL or Qwen2.5-VL model",
        )


def check_data(config: Config, say: Say = print) -> RunData | None:
    """Open the dataset, or inspect the videos. Return None if the run draws its videos itself.

    Raises:
        ConfigError: there is no such folder or dataset, none of its videos can be used, or a split of the dataset
            lacks a task.
    """
    if config.data.dataset is not None:
        return _open_dataset(config, config.data.dataset)
    if config.data.videos == DRAWN:
        return None
    try:
        with CountingProgress("Looking at videos", say) as counting:
            found = scan(config.data.videos, config.data.frames, report=counting.show)
    except FolderError as error:
        raise ConfigError("data.videos", config.data.videos, error.reason) from None
    if not found.usable:
        raise ConfigError("data.videos", config.data.videos, none_usable(found.skipped, config.data.frames))
    num_held_out = min(round(len(found.usable) * config.data.held_out_share), len(found.usable) - 1)
    if config.evaluation.samples_per_task and num_held_out == 0:
        # Too few videos to hold one out. The held-out samples are of the same videos, but with another seed, so their
        # windows, edits and orders differ.
        return _stream_data(config, found.usable, found.usable, found.skipped)
    stride = len(found.usable) / num_held_out if num_held_out else 0
    chosen = {int(i * stride) for i in range(num_held_out)}
    train = tuple(video for i, video in enumerate(found.usable) if i not in chosen)
    return _stream_data(config, train, tuple(found.usable[i] for i in sorted(chosen)), found.skipped)


def _open_dataset(config: Config, address: str) -> RunData:
    stored = DatasetSource(address, config.data.held_out_share, config.seed)
    splits: tuple[Split, ...] = ("train", "held_out") if config.evaluation.samples_per_task else ("train",)
    for split in splits:
        if missing := stored.missing_tasks(split):
            raise ConfigError(
                "data.held_out_share",
                config.data.held_out_share,
                f"leaves the {split} videos of the dataset without a sample of {', '.join(missing)}",
                "Change it, or train on a larger dataset",
            )
    return RunData(stored, stored.num_videos("train"), stored.num_videos("held_out"), stored.max_clips)


def prepare(
    config: Config,
    folder: Path,
    data: RunData | None,
    stored_run: StoredRun,
    stopwatch: Stopwatch,
    say: Say,
) -> tuple[RunData, ModelSpec]:
    """Return the run's videos and its start model, ready to use: drawn, created and warmed up where needed.

    Args:
        folder: runs/NAME.
        data: what `check_data` found.
        stopwatch: measures the parts "videos" and "warm-up".

    Raises:
        ConfigError: a prompt cannot be made, or the model cannot be used.
    """
    stored_run.stage(LOOKING_AT_VIDEOS)
    with stopwatch.timed("videos"):
        data = data or draw_missing_videos(config, folder / "videos")
    for entry in data.skipped[:_MAX_SHOWN_SKIPPED]:
        say(f"Skipped: {entry.path}: {entry.reason}")
    skipped = f", {len(data.skipped)} skipped" if data.skipped else ""
    say(f"Videos: {data.num_train} to train on, {data.num_held_out} to evaluate on{skipped}.")
    model_path = config.model.path
    if model_path.startswith(TINY_PREFIX):
        model_path = make_tiny_model(config, folder / "model", data)
    _check_prompts(config, prompt_spec(config, data, model_path))
    if config.warmup is not None:
        say("Warming up: a random model first learns the form of a completion.")
        stored_run.stage(WARMING_UP)

    def report_warmup(text: str) -> None:
        say(text)
        stored_run.event(events.WARMING_UP, text.strip())

    with stopwatch.timed("warm-up"):
        model_path = warm_start(config, model_path, data, folder / "model-warm", report_warmup)
    logger.info("prepared the run: %s", {part: round(value, 1) for part, value in stopwatch.seconds.items()})
    return data, model_spec(config, model_path)


def _check_prompts(config: Config, spec: PromptSpec) -> None:
    """Make one prompt of each task, so that prompts which are too long or cannot be made are refused now."""
    try:
        worker = PromptWorker(spec)
        for task in config.data.tasks:
            worker.make("train", 0, task)
    except PromptTooLong as error:
        raise ConfigError(
            "data.max_prompt_tokens",
            config.data.max_prompt_tokens,
            f"a prompt has {error.num_tokens} tokens",
            "Use fewer frames or pixels, or raise it",
        ) from None
    except PromptError as error:
        raise ConfigError("data", NO_VALUE, str(error)) from None
    except ValueError as error:
        raise ConfigError("model.path", config.model.path, str(error)) from None


def draw_missing_videos(config: Config, folder: Path) -> RunData:
    """Draw the scenes of a run without videos. Training and held-out scenes have different seeds."""
    found = []
    for split, count in (("train", config.data.num_drawn), ("held_out", config.data.num_drawn_held_out)):
        draw_videos(folder / split, count=count, seed=2 * config.seed + (split == "held_out"))
        found.append(scan(folder / split, config.data.frames))
    return _stream_data(config, found[0].usable, found[1].usable, ())


def _stream_data(
    config: Config,
    train: tuple[SampledVideo, ...],
    held_out: tuple[SampledVideo, ...],
    skipped: tuple[Skipped, ...],
) -> RunData:
    mix = {str(task): weight for task, weight in config.data.mix.items()}
    videos: dict[Split, tuple[SampledVideo, ...]] = {"train": train, "held_out": held_out}
    source = StreamSource(videos, mix, config.data.params_by_task, config.seed)
    max_clips = config.data.jigsaw.num_clips if "jigsaw" in config.data.tasks else 1
    return RunData(source, len(train), len(held_out), max_clips, skipped)


def prompt_spec(config: Config, data: RunData, model_path: str) -> PromptSpec:
    """Return how the run's prompts are made."""
    return PromptSpec(
        model_path=model_path,
        source=data.source,
        system_prompt=config.data.system_prompt,
        max_prompt_tokens=config.data.max_prompt_tokens,
    )


def model_spec(config: Config, model_path: str) -> ModelSpec:
    """Return what the learner needs to know about the model.

    Raises:
        ConfigError: the model folder cannot be used.
    """
    try:
        facts = read_model_facts(model_path, config.data.max_prompt_tokens)
    except ValueError as error:
        raise ConfigError("model.path", config.model.path, str(error)) from None
    return ModelSpec(
        path=model_path,
        dtype=config.learner.dtype,
        attention=config.learner.attention,
        temperature=config.rollout.temperature,
        **facts,
    )


def make_tiny_model(config: Config, folder: Path, data: RunData) -> str:
    """Create a random model in `folder`, with a tokenizer trained on the run's own questions. Return its path."""
    from learner.modeling.tiny import create_tiny_model
    from pretext.stream import render

    texts = [config.data.system_prompt, "system user assistant"]
    for task in config.data.tasks:
        sample = render(data.source.recipe("train", 0, task))
        texts += [part for part in sample.content if isinstance(part, str)]
    texts += [f"<{second}.{tenth} seconds>" for second in range(10) for tenth in range(10)]
    architecture: Any = config.model.path.removeprefix(TINY_PREFIX)
    create_tiny_model(folder, corpus=texts * 2, seed=config.seed, architecture=architecture)
    return str(folder)


def warm_start(config: Config, model_path: str, data: RunData, folder: Path, say: Say) -> str:
    """Return the folder of the warmed-up model, or `model_path` if there is no warm-up.

    A resumed run finds the folder that it made before.
    """
    if config.warmup is None:
        return model_path
    if (folder / "config.json").exists():
        return str(folder)
    worker = PromptWorker(prompt_spec(config, data, model_path))
    held_out = [
        sample
        for task in config.data.tasks
        for sample in itertools.islice(_samples(worker, task, _FIRST_WARMUP_HELD_OUT), _WARMUP_HELD_OUT)
    ]

    def report(progress: WarmupProgress) -> None:
        if progress.num_steps % _WARMUP_REPORT_STEPS == 0 or progress.phase == "right":
            shown = ", ".join(
                f"{task} {found.score:.2f} (valid {found.validity:.2f})"
                for task, found in progress.scores.items()
            )
            say(f"  warm-up step {progress.num_steps} ({progress.phase}): sampled {shown}")

    last = warm_up(
        model_spec(config, model_path),
        config.warmup,
        samples={task: _samples(worker, task, _FIRST_WARMUP_SAMPLE) for task in config.data.tasks},
        held_out=held_out,
        score=_score_and_validity,
        seed=config.seed,
        out=folder,
        report=report,
    )
    if not last.reached:
        say(
            f"  The warm-up reached warmup.max_steps={config.warmup.max_steps} before its targets. "
            "Training starts anyway."
        )
    return str(folder)


def _samples(worker: PromptWorker, task: str, first: int) -> Iterator[WarmupSample]:
    for index in itertools.count(first):
        meta, _, prompt = worker.make("train", index, task)
        yield WarmupSample(task, prompt, meta.truth)


def _score_and_validity(task: str, text: str, truth: str) -> tuple[float, bool]:
    return score(task, text, truth), is_valid(task, text, truth)
