"""`videossr bench build` and `videossr eval`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cluster.config.load import ConfigError
from evaluation.settings import EvalSettings
from pretext.video.sources import absolute

if TYPE_CHECKING:
    from evaluation.bench import BenchSettings
    from evaluation.results import Results
    from pretext.video.frames import SampledVideo
    from pretext.video.info import Rejected

_SHOWN_PATHS = 10  # of videos set aside; the record holds all
_BUILD_OPTIONS = {
    "samples_per_column": "--samples",
    "seed": "--seed",
    "frames.num_frames": "--frames",
    "frames.max_pixels": "--pixels",
    "frames": "--pixels",
}


def add_commands(commands: Any) -> None:
    """Add both to the subparsers of `videossr`. What is heavy is imported when one of them runs."""
    bench = commands.add_parser("bench", help="make VIUBench's questions from any videos")
    build = bench.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "build", help="make the nine columns; a build that was stopped goes on"
    )
    build.add_argument(
        "--videos", action="append", required=True, metavar="DIR", help="a folder of videos; can be repeated"
    )
    build.add_argument("--out", type=Path, required=True, metavar="BENCH", help="the folder to write")
    for option, default, words in (
        ("--samples", 200, "questions in each column"),
        ("--seed", 0, "another seed, other questions"),
        ("--frames", 48, "frames of a video, a multiple of 48"),
        ("--pixels", 256 * 256, "most pixels of a frame"),
    ):
        build.add_argument(option, type=int, default=default, metavar="N", help=f"{words} ({default})")
    build.set_defaults(run=_build)
    evaluate = commands.add_parser("eval", help="let a model answer a bench, and print VIUBench's table")
    evaluate.add_argument(
        "--model", required=True, metavar="DIR_OR_RUN", help="a model's folder or hub id, or a run"
    )
    evaluate.add_argument("--bench", type=Path, required=True, metavar="DIR", help="a bench, or one dataset")
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="where results go (DIR/evaluations/MODEL of the bench)"
    )
    for name, field in EvalSettings.model_fields.items():
        unless_given = "" if field.default is None else f" ({field.default})"
        evaluate.add_argument(
            _flag(name), default=argparse.SUPPRESS, metavar="VALUE", help=f"{field.description}{unless_given}"
        )
    evaluate.set_defaults(run=_eval)


def _build(options: argparse.Namespace) -> int:
    from cluster.training.progress_display import Counting
    from dataset.store import DatasetError
    from evaluation.bench import build_bench, check_bench

    settings = _bench_settings(options)
    try:
        if check_bench(settings, options.out) is not None:
            print(f"{options.out} is complete already.")
            return 0
        videos, rejected = _look_at(settings)
        with Counting("Columns", _say) as counting:
            build_bench(videos, rejected, options.out, settings=settings, report=counting.show)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    _name_some([(entry.path, entry.reason) for entry in rejected], "Set aside")
    _say(f"Wrote {options.out}: nine columns of {settings.samples_per_column} questions.")
    _say(f"Videos: {len(videos)}{f', and {len(rejected)} set aside' if rejected else ''}.")
    return 0


def _bench_settings(options: argparse.Namespace) -> "BenchSettings":
    from evaluation.bench import BenchSettings
    from pretext.video.frames import FrameSpec

    smallest = FrameSpec.model_fields["min_pixels"].default
    try:
        return BenchSettings.model_validate(
            {
                "videos": [absolute(folder) for folder in options.videos],
                "samples_per_column": options.samples,
                "seed": options.seed,
                "frames": {
                    "num_frames": options.frames,
                    "max_pixels": options.pixels,
                    "min_pixels": max(1, min(smallest, options.pixels)),
                },
            }
        )
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(error, _BUILD_OPTIONS))) from None


def _look_at(settings: "BenchSettings") -> tuple[list["SampledVideo"], list["Rejected"]]:
    """All videos of all folders, each once. Raises ConfigError where none can be used."""
    from cluster.training.progress_display import Counting
    from dataset.scan import none_usable, scan

    usable: dict[str, SampledVideo] = {}
    rejected: dict[str, Rejected] = {}
    for folder in settings.videos:
        try:
            with Counting("Looking at videos", _say) as counting:
                found = scan(folder, settings.frames, report=counting.show)
        except ValueError as error:
            raise ConfigError(f"--videos={error!s}") from None
        usable |= {video.path: video for video in found.usable}
        rejected |= {entry.path: entry for entry in found.rejected}
    if not usable:
        raise ConfigError(
            f"--videos={' '.join(settings.videos)}: {none_usable([*rejected.values()], settings.frames)}"
        )
    return [usable[path] for path in sorted(usable)], [rejected[path] for path in sorted(rejected)]


def _eval(options: argparse.Namespace) -> int:
    from cluster.training.progress_display import Counting

    given = {name: value for name, value in vars(options).items() if name in EvalSettings.model_fields}
    try:
        settings = EvalSettings.model_validate(given)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(error, {}))) from None
    from cluster.evaluation.evaluate import EvaluationFailed, evaluate

    out = options.out or options.bench / "evaluations" / Path(options.model).absolute().name
    try:
        with Counting("Questions", _say) as counting:
            found, unreadable = evaluate(
                options.model, options.bench, out, settings, say=_say, report=counting.show
            )
    except EvaluationFailed as error:
        print(f"The evaluation failed: {error}", file=sys.stderr)
        return 1
    for line in table_lines(found):
        _say(line)
    _name_some([(entry.path, entry.reason) for entry in unreadable], "Could not be read")
    _say(f"Results: {out} (results.json, results.png, answers.jsonl)")
    return 0


def table_lines(found: "Results") -> list[str]:
    """VIUBench's table for a terminal, 72 characters wide: a line for each column, and the averages."""
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


def _explained(error: ValidationError, options: dict[str, str]) -> Iterator[str]:
    """`--option=value: rule.`, one line for each problem."""
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"] if part not in ("constrained-int", "int"))
        message = str(problem["msg"]).removeprefix("Value error, ")
        value = "" if isinstance(problem["input"], dict) else f"={problem['input']}"
        option = options.get(name, _flag(name))
        yield f"{option}{value}: {message[0].lower()}{message[1:].rstrip('.')}. Change {option}."


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name_some(entries: Sequence[tuple[str, str]], what: str) -> None:
    """The first few videos that something is the matter with."""
    for path, reason in entries[:_SHOWN_PATHS]:
        _say(f"{what}: {path}: {reason}")
    if len(entries) > _SHOWN_PATHS:
        _say(f"... and {len(entries) - _SHOWN_PATHS} more.")


def _say(text: str) -> None:
    print(text, flush=True)
