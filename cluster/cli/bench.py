"""`videossr bench build` and `videossr eval`."""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.options import add_command_parser
from cluster.config.errors import ConfigError
from cluster.terminal import DONE, FAILED, CountingProgress, say, say_error

if TYPE_CHECKING:
    from evaluation.bench import BenchSettings
    from evaluation.results import BenchResults
    from pretext.video.frames import SampledVideo
    from pretext.video.info import Skipped

_MAX_SHOWN_PATHS = 10
_BUILD_OPTIONS = {
    "samples_per_column": "--samples",
    "seed": "--seed",
    "frames.num_frames": "--frames",
    "frames.max_pixels": "--pixels",
    "frames": "--pixels",
}


def add_commands(commands: Any) -> None:
    """Add `bench` and `eval` to the subparsers of `videossr`."""
    bench = add_command_parser(commands, "bench", "make VIUBench's questions from any videos")
    build = add_command_parser(
        bench.add_subparsers(required=True, metavar="COMMAND"),
        "build",
        "make the nine columns of questions; resumes an interrupted build",
    )
    build.add_argument(
        "--videos",
        action="append",
        required=True,
        metavar="DIR",
        help="folder of videos; may be given several times",
    )
    build.add_argument("--out", type=Path, required=True, metavar="BENCH", help="folder to write")
    for option, default, words in (
        ("--samples", 200, "questions in each column"),
        ("--seed", 0, "seed of the questions"),
        ("--frames", 48, "frames of each video, a multiple of 48"),
        ("--pixels", 256 * 256, "largest number of pixels in a frame"),
    ):
        build.add_argument(
            option, type=int, default=default, metavar="N", help=f"{words}; default: {default}"
        )
    build.set_defaults(run=_build)
    evaluate = add_command_parser(
        commands,
        "eval",
        "evaluate a model on a bench and print VIUBench's table",
        add_options=_add_settings,
    )
    evaluate.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a Hugging Face folder or hub id, or the name or folder of a run",
    )
    evaluate.add_argument(
        "--bench", type=Path, required=True, metavar="BENCH", help="folder of a bench, or of one dataset"
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results; default: BENCH/evaluations/MODEL"
    )
    evaluate.set_defaults(run=_eval)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of an evaluation."""
    from evaluation.settings import EvalSettings

    for name, field in EvalSettings.model_fields.items():
        shown_default = "" if field.default is None else f"; default: {field.default}"
        parser.add_argument(
            _flag(name),
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=f"{field.description}{shown_default}",
        )


def _build(options: argparse.Namespace) -> int:
    from dataset.store import DatasetError
    from evaluation.bench import build_bench, check_bench

    settings = _bench_settings(options)
    try:
        if check_bench(settings, options.out) is not None:
            say(f"{options.out} is complete already.")
            return DONE
        videos, skipped = _look_at(settings)
        with CountingProgress("Columns") as counting:
            build_bench(videos, skipped, options.out, settings=settings, report=counting.show)
    except DatasetError as error:
        raise ConfigError.quoting(error) from None
    _name_some([(entry.path, entry.reason) for entry in skipped], "Skipped")
    say(f"Wrote {options.out}: nine columns of {settings.samples_per_column} questions.")
    say(f"Videos: {len(videos)}{f', and {len(skipped)} skipped' if skipped else ''}.")
    return DONE


def _bench_settings(options: argparse.Namespace) -> "BenchSettings":
    from cluster.config.load import validated
    from evaluation.bench import BenchSettings
    from pretext.video.frames import FrameSpec
    from pretext.video.sources import absolute

    smallest = FrameSpec.model_fields["min_pixels"].default
    tree = {
        "videos": [absolute(folder) for folder in options.videos],
        "samples_per_column": options.samples,
        "seed": options.seed,
        "frames": {
            "num_frames": options.frames,
            "max_pixels": options.pixels,
            "min_pixels": max(1, min(smallest, options.pixels)),
        },
    }
    return validated(BenchSettings, tree, lambda name: _BUILD_OPTIONS.get(name, _flag(name)))


def _look_at(settings: "BenchSettings") -> tuple[list["SampledVideo"], list["Skipped"]]:
    """Inspect all videos of all folders, each once. Raises ConfigError if none is usable."""
    from dataset.scan import none_usable, scan
    from pretext.video.sources import FolderError

    usable: dict[str, SampledVideo] = {}
    skipped: dict[str, Skipped] = {}
    for folder in settings.videos:
        try:
            with CountingProgress("Looking at videos") as counting:
                found = scan(folder, settings.frames, report=counting.show)
        except FolderError as error:
            raise ConfigError("--videos", error.folder, error.reason) from None
        usable |= {video.path: video for video in found.usable}
        skipped |= {entry.path: entry for entry in found.skipped}
    if not usable:
        raise ConfigError("--videos", settings.videos, none_usable([*skipped.values()], settings.frames))
    return [usable[path] for path in sorted(usable)], [skipped[path] for path in sorted(skipped)]


def _eval(options: argparse.Namespace) -> int:
    from cluster.config.load import validated
    from evaluation.settings import EvalSettings

    given = {name: value for name, value in vars(options).items() if name in EvalSettings.model_fields}
    settings = validated(EvalSettings, given, _flag)
    from cluster.evaluation.evaluate import EvaluationFailed, evaluate

    out = options.out or options.bench / "evaluations" / Path(options.model).absolute().name
    try:
        with CountingProgress("Questions") as counting:
            found, unreadable = evaluate(
                options.model, options.bench, out, settings, say=say, report=counting.show
            )
    except EvaluationFailed as error:
        say_error(f"The evaluation failed: {error}")
        return FAILED
    for line in table_lines(found):
        say(line)
    _name_some([(entry.path, entry.reason) for entry in unreadable], "Could not be read")
    say(f"Results: {out} (results.json, results.png, answers.jsonl)")
    return DONE


def table_lines(found: "BenchResults") -> list[str]:
    """Render VIUBench's table, 72 characters wide: a line for each column, then the averages."""
    from evaluation.viubench import percent_text

    widths = (9, 10, 14, 9, 7) if found.summaries else (9, 10, 9, 7)

    def line(task: str, name: str, *cells: str) -> str:
        shown = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
        return f"{task:<10}{name:<13}{shown}"

    def cell(percent: float | None) -> str:
        return "-" if percent is None else percent_text(percent)

    rule = "─" * (23 + sum(widths))
    published = ("VideoSSR-8B*",) if found.summaries else ()
    lines = ["", line("percent", "", "score", "guessing", *published, "valid", "n"), rule]
    for task, group in groupby(found.columns, key=lambda column: column.task):
        for number, column in enumerate(group):
            earned = [
                column.score,
                column.random,
                *([column.published] if published else []),
                100 * column.valid,
            ]
            lines.append(line("" if number else task, column.label, *map(cell, earned), str(column.n)))
        if found.summaries:
            lines.append(line("", "average", *(cell(entry.by_task[task]) for entry in found.summaries)))
    if found.summaries:
        lines += [rule, line("overall", "", *(cell(entry.overall) for entry in found.summaries))]
        lines += ["", "Overall: the mean of the nine columns. *As published, on VIUBench's own videos."]
    return [*lines, ""]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name_some(entries: Sequence[tuple[str, str]], what: str) -> None:
    """Name the first few videos that could not be used, with the reasons."""
    for path, reason in entries[:_MAX_SHOWN_PATHS]:
        say(f"{what}: {path}: {reason}")
    if len(entries) > _MAX_SHOWN_PATHS:
        say(f"... and {len(entries) - _MAX_SHOWN_PATHS} more.")
