"""What must be there before a run starts: a model that can watch, videos that can be read, a warm start."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.workers.prompt_worker import PromptMaker, PromptSpec, read_model_facts
from cluster.config.load import ConfigError, mix_of, task_params, tasks_of
from cluster.config.schema import DRAWN, TINY_PREFIX, Config
from cluster.training.progress_display import Counting
from dataset.scan import none_usable, scan
from dataset.source import DatasetSource
from learner.modeling.policy_model import ModelSpec
from learner.warmup import WarmupProgress, WarmupSample, warm_up
from pretext.scenes import draw_videos
from pretext.source import RecipeSource, Split, StreamSource
from pretext.video.frames import SampledVideo
from pretext.video.info import Rejected
from reward import is_valid, score
from reward.custom import load_reward

Say = Callable[[str], None]
_WARMUP_HELD_OUT = 96  # samples per task whose answers decide when the warm-up ends
_WARMUP_SAY_EVERY = 40  # steps


@dataclass(frozen=True)
class Data:
    """What a run's prompts are made of."""

    source: RecipeSource
    num_train: int  # videos
    num_held_out: int
    max_clips: int  # of one prompt
    rejected: tuple[Rejected, ...] = ()  # videos set aside


def check_reward(config: Config) -> None:
    """Load the user's own reward once, from where its workers will have it.

    Raises:
        ConfigError: there is no such function.
    """
    if config.reward.function is None:
        return
    if os.getcwd() not in sys.path:  # as `python -m` has it, and as Ray has it in the workers
        sys.path.insert(0, os.getcwd())
    try:
        load_reward(config.reward.function)
    except ValueError as error:
        raise ConfigError(f"reward.function={config.reward.function!r}: {error}") from None


def check_model(config: Config) -> None:
    """Refuse a model that cannot be trained on video. Reads its config, not its weights.

    Raises:
        ConfigError: there is no such model, or it has no vision tower that we know.
    """
    path = config.model.path
    if path.startswith(TINY_PREFIX):
        if path.removeprefix(TINY_PREFIX) not in ("qwen3_vl", "qwen2_5_vl"):
            raise ConfigError(
                f"model.path={path!r}: no such tiny model. Use tiny:qwen3_vl or tiny:qwen2_5_vl."
            )
        return
    if path.startswith(("/", ".")) and not Path(path).is_dir():
        raise ConfigError(
            f"model.path={path!r}: there is no such folder. Give one with a config.json, or a hub id such as "
            "Qwen/Qwen3-VL-2B-Instruct."
        )
    from transformers import AutoConfig

    try:
        model_type = AutoConfig.from_pretrained(path).model_type
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"model.path={path!r}: cannot be loaded ({reason}). Give a folder with a config.json, or a hub id "
            "such as Qwen/Qwen3-VL-2B-Instruct."
        ) from None
    if model_type not in ("qwen3_vl", "qwen2_5_vl"):
        raise ConfigError(
            f"model.path={path!r}: a {model_type} model, which has no vision or none that is supported here. Use a "
            "Qwen3-VL or Qwen2.5-VL model."
        )


def check_data(config: Config, say: Say = print) -> Data | None:
    """Look at the videos, or open the dataset; None where videos are to be drawn.

    Raises:
        ConfigError: no such folder or dataset, or none of its videos can be used.
    """
    if config.data.dataset is not None:
        stored = DatasetSource(config.data.dataset, config.data.held_out_share, config.seed)
        splits: tuple[Split, ...] = (
            ("train", "held_out") if config.evaluation.samples_per_task else ("train",)
        )
        for split in splits:
            if missing := stored.missing_tasks(split):
                raise ConfigError(
                    f"data.held_out_share={config.data.held_out_share}: leaves the {split} videos of the dataset "
                    f"without a sample of {', '.join(missing)}. Change it, or train on a larger dataset."
                )
        return Data(stored, stored.num_videos("train"), stored.num_videos("held_out"), stored.max_clips)
    if config.data.videos == DRAWN:
        return None
    name = f"data.videos={config.data.videos!r}"
    try:
        with Counting("Looking at videos", say) as counting:
            found = scan(config.data.videos, config.data.frames, report=counting.show)
    except ValueError as error:
        raise ConfigError(f"{name}: {str(error).removeprefix(config.data.videos).lstrip(': ')}") from None
    if not found.usable:
        raise ConfigError(f"{name}: {none_usable(found.rejected, config.data.frames)}")
    held_out = min(round(len(found.usable) * config.data.held_out_share), len(found.usable) - 1)
    if config.evaluation.samples_per_task and held_out == 0:
        # Too few to spare one: the same videos, but other windows, edits and orders (another seed).
        return _stream(config, found.usable, found.usable, found.rejected)
    step = len(found.usable) / held_out if held_out else 0
    chosen = {int(i * step) for i in range(held_out)}
    train = tuple(video for i, video in enumerate(found.usable) if i not in chosen)
    return _stream(config, train, tuple(found.usable[i] for i in sorted(chosen)), found.rejected)


def draw_missing_videos(config: Config, folder: Path) -> Data:
    """Draw the scenes of a run that has no videos of its own; training and held-out ones from other seeds."""
    found = []
    for split, count in (("train", config.data.num_drawn), ("held_out", config.data.num_drawn_held_out)):
        draw_videos(folder / split, count=count, seed=2 * config.seed + (split == "held_out"))
        found.append(scan(folder / split, config.data.frames))
    return _stream(config, found[0].usable, found[1].usable, ())


def _stream(
    config: Config,
    train: tuple[SampledVideo, ...],
    held_out: tuple[SampledVideo, ...],
    rejected: tuple[Rejected, ...],
) -> Data:
    source = StreamSource(
        {"train": train, "held_out": held_out}, mix_of(config), task_params(config), config.seed
    )
    max_clips = config.data.jigsaw.num_clips if "jigsaw" in tasks_of(config) else 1
    return Data(source, len(train), len(held_out), max_clips, rejected)


def prompt_spec(config: Config, data: Data, model_path: str) -> PromptSpec:
    """How a run's prompts are made."""
    return PromptSpec(
        model_path=model_path,
        source=data.source,
        system_prompt=config.data.system_prompt,
        max_prompt_tokens=config.data.max_prompt_tokens,
    )


def model_spec(config: Config, model_path: str) -> ModelSpec:
    """What the learner must know of the model. Raises ConfigError for a model folder that cannot be used."""
    try:
        facts = read_model_facts(model_path, config.data.max_prompt_tokens)
    except ValueError as error:
        raise ConfigError(f"model.path={config.model.path!r}: {error}") from None
    return ModelSpec(
        path=model_path,
        dtype=config.learner.dtype,
        attention=config.learner.attention,
        temperature=config.rollout.temperature,
        **facts,
    )


def make_tiny_model(config: Config, folder: Path, data: Data) -> str:
    """A random model on the spot, its tokenizer trained on the run's own questions."""
    from learner.modeling.tiny import create_tiny_model
    from pretext.stream import render

    texts = [config.data.system_prompt, "system user assistant"]
    for task in tasks_of(config):
        sample = render(data.source.recipe("train", 0, task))
        texts += [part for part in sample.content if isinstance(part, str)]
    texts += [f"<{second}.{tenth} seconds>" for second in range(10) for tenth in range(10)]
    architecture: Any = config.model.path.removeprefix(TINY_PREFIX)
    create_tiny_model(folder, corpus=texts * 2, seed=config.seed, architecture=architecture)
    return str(folder)


def warm_start(config: Config, model_path: str, data: Data, folder: Path, say: Say) -> str:
    """The warmed-up model's folder; made once."""
    if config.warmup is None:
        return model_path
    if (folder / "config.json").exists():
        return str(folder)
    maker = PromptMaker(prompt_spec(config, data, model_path))
    # Sample numbers far from those that GRPO will train on.
    held_out = [
        sample
        for task in tasks_of(config)
        for sample in itertools.islice(_samples(maker, task, 2**33), _WARMUP_HELD_OUT)
    ]

    def report(progress: WarmupProgress) -> None:
        if progress.num_steps % _WARMUP_SAY_EVERY == 0 or progress.phase == "right":
            shown = ", ".join(
                f"{task} {found.score:.2f} (valid {found.validity:.2f})"
                for task, found in progress.scores.items()
            )
            say(f"  warm-up step {progress.num_steps} ({progress.phase}): sampled {shown}")

    last = warm_up(
        model_spec(config, model_path),
        config.warmup,
        samples={task: _samples(maker, task, 2**32) for task in tasks_of(config)},
        held_out=held_out,
        score=_score_and_validity,
        seed=config.seed,
        out=folder,
        report=report,
    )
    if not last.reached:
        say(
            f"  The warm-up ends after warmup.max_steps={config.warmup.max_steps} below its targets; training goes on."
        )
    return str(folder)


def _samples(maker: PromptMaker, task: str, first: int) -> Iterator[WarmupSample]:
    for index in itertools.count(first):
        meta, _, prompt = maker.make("train", index, task)
        yield WarmupSample(task, prompt, meta.answer)


def _score_and_validity(task: str, text: str, answer: str) -> tuple[float, bool]:
    return score(task, text, answer), is_valid(task, text, answer)
