"""`videossr data`: build, show, stats, import, export."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.config.load import ConfigError, apply_override, validated
from cluster.training.progress_display import Counting
from dataset.sandbox import TIMEOUT_S
from dataset.store import BuildSettings, Card, Dataset, DatasetError
from pretext.video.sources import absolute, is_url

_SHOWN_REASONS = 8
_SECTIONS = ("frames", "grounding", "jigsaw", "counting")  # that can be set from the command line


def add_commands(commands: Any) -> None:
    """Add `data` to the command line's subparsers."""
    data = commands.add_parser("data", help="build and look at datasets")
    verbs = data.add_subparsers(required=True, metavar="VERB")

    build = verbs.add_parser("build", help="make a dataset of all videos in folders")
    build.add_argument(
        "--videos", action="append", required=True, metavar="DIR",
        help="a folder, at any depth, or a URL such as s3://bucket/videos; may be given several times",
    )  # fmt: skip
    build.add_argument("--out", type=_folder, required=True, metavar="DATASET", help="the folder to write")
    build.add_argument(
        "--mix", default="paper", help="paper (VideoSSR-30K's), or weights: grounding=0.4,jigsaw=0.6"
    )
    build.add_argument(
        "--count", type=int, help="samples; default: 30000 for the paper's mix, else one a task and video"
    )
    build.add_argument("--seed", type=int, default=0)
    build.add_argument(
        "--timeout", type=_seconds, default=TIMEOUT_S, metavar="S", help="seconds that one video may take"
    )
    build.add_argument(
        "--address", default="auto", help="a Ray to join; auto: the one around, or a new local one"
    )
    build.add_argument(
        "overrides", nargs="*", metavar="key=value",
        help="frames.*, grounding.*, jigsaw.*, counting.*, as in a run's data section: jigsaw.gap=2",
    )  # fmt: skip
    build.set_defaults(run=_build)

    show = verbs.add_parser("show", help="draw a sample as a contact sheet (PNG)")
    show.add_argument("dataset", type=Path, metavar="DATASET")
    show.add_argument("sample", nargs="?", metavar="ID", help="an id or a number; default: one of each kind")
    show.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: DATASET/sheets")
    show.set_defaults(run=_show)

    stats = verbs.add_parser("stats", help="what is in a dataset, and what answers earn without watching")
    stats.add_argument("dataset", type=Path, metavar="DATASET")
    stats.add_argument(
        "--jigsaws", type=int, default=100, metavar="N", help="how many to solve from their cuts alone"
    )
    stats.add_argument("--out", type=Path, metavar="PNG", help="the plots; default: DATASET/stats.png")
    stats.set_defaults(run=_stats)

    imported = verbs.add_parser("import", help="read data sets in VideoSSR's published layout")
    imported.add_argument(
        "sources", nargs="+", type=Path, metavar="FILE", help="parquet or JSON files, or folders"
    )
    imported.add_argument("--out", type=_folder, required=True, metavar="DATASET")
    imported.add_argument(
        "--root", type=Path, metavar="DIR", help="where the frame files lie on this machine"
    )
    imported.set_defaults(run=_import)

    export = verbs.add_parser("export", help="render frames for other trainers")
    export.add_argument("dataset", type=Path, metavar="DATASET")
    export.add_argument("--format", choices=("verl", "jsonl", "webdataset"), required=True)
    export.add_argument("--out", type=_folder, required=True, metavar="DIR")
    export.set_defaults(run=_export)


def _folder(text: str) -> Path:
    if is_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is a URL: datasets are written to folders.")
    return Path(text)


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0.")
    return float(text)


def settings_of(
    videos: Sequence[str], mix: str, count: int | None, seed: int, overrides: Sequence[str]
) -> BuildSettings:
    """The settings that a command line asks for. Raises ConfigError."""
    from dataset.build import PAPER_COUNT, PAPER_MIX

    weights: dict[str, Any] = dict(PAPER_MIX)
    if mix != "paper":
        weights = {}
        for part in mix.split(","):
            name, _, weight = part.partition("=")
            try:
                weights[name.strip()] = float(weight)
            except ValueError:
                raise ConfigError(
                    f"--mix={mix!r}: weights have the form task=number, as in grounding=0.4,jigsaw=0.6; or say paper."
                ) from None
    elif count is None:
        count = PAPER_COUNT
    tree: dict[str, Any] = {"videos": [absolute(folder) for folder in videos]}
    tree |= {"mix": weights, "count": count, "seed": seed}
    for override in overrides:
        section = override.partition(".")[0]
        if section not in _SECTIONS:
            raise ConfigError(
                f"{override!r}: no such setting. There are those of {', '.join(_SECTIONS)}: jigsaw.gap=2."
            )
        apply_override(tree, override)
    try:
        return validated(BuildSettings, tree)
    except ConfigError as error:  # with the names that were typed
        raise ConfigError(
            re.sub(r"(?m)^(count|seed|mix)\b|(?<=Change )(count|seed)\b", r"--\g<0>", str(error))
        ) from None


def _build(options: argparse.Namespace) -> int:
    from cluster.training.ray_session import joined_ray
    from dataset.build import Progress, build, built_already, check, find

    settings = settings_of(options.videos, options.mix, options.count, options.seed, options.overrides)
    titles = {"videos": "Looking at videos", "samples": "Drawing samples"}
    try:
        check(settings)  # all that can be said before Ray is started
        paths = find(settings.videos)
        dataset = built_already(settings, options.out)
        if dataset is not None:
            num_new = len(set(paths) - dataset.seen())
            print(f"{options.out}: is complete already.")
            if num_new:
                print(f"{num_new} videos are new since then: build another dataset to use them.")
            return 0
        print(f"{len(paths)} videos. Starting ...", flush=True)
        with joined_ray(options.address), Counting(titles["videos"], print) as counting:

            def report(progress: Progress) -> None:
                note = f"{progress.num_rejected} set aside" if progress.num_rejected else ""
                counting.show(progress.done, progress.total, note, titles[progress.stage])

            card = build(settings, paths, options.out, report=report, timeout_s=options.timeout)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        raise SystemExit(130) from None
    _say_what_is_there(options.out, card)
    return 0


def _say_what_is_there(folder: Path, card: Card) -> None:
    """The end of a build or an import."""
    dataset = Dataset(folder)
    by_task = ", ".join(f"{len(answers)} {task}" for task, answers in sorted(dataset.answers().items()))
    made_of = f" of {card.num_videos} videos" if card.settings is not None else ""
    print(f"{folder}: {card.num_samples} samples ({by_task}){made_of}.")
    if card.num_rejected:
        rejected = dataset.rejected()
        print(f"{card.num_rejected} set aside (all in {folder / 'rejected.parquet'}):")
        for entry in rejected[:_SHOWN_REASONS]:
            print(f"  {Path(entry.path).name}: {entry.reason}")
        if len(rejected) > _SHOWN_REASONS:
            print(f"  and {len(rejected) - _SHOWN_REASONS} more")
    print(f"Look at it: videossr data show {folder}; videossr data stats {folder}")


def _show(options: argparse.Namespace) -> int:
    from dataset.view.contact_sheet import draw_sheet
    from pretext.stream import render
    from pretext.video import VideoError

    dataset = _open(options.dataset)
    try:
        recipes = [dataset.find(options.sample)] if options.sample else dataset.one_of_each_kind()
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    folder = options.out or options.dataset / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    num_drawn = 0
    for recipe in recipes:
        path = folder / f"{recipe.id}.png"
        try:
            draw_sheet(render(recipe), path)
        except VideoError as error:
            print(f"sample {recipe.id}: {error}", file=sys.stderr)
            continue
        num_drawn += 1
        kind = " ".join(word for word in (recipe.task, recipe.params.get("perturbation")) if word)
        print(f"{path}: {kind}, answer {recipe.answer}")
    return 0 if num_drawn else 1


def _stats(options: argparse.Namespace) -> int:
    from dataset.stats.plot import draw_report
    from dataset.stats.stats import report
    from dataset.stats.text import print_report

    try:
        found = report(_open(options.dataset), jigsaw_samples=options.jigsaws)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    print_report(found)
    path = options.out or options.dataset / "stats.png"
    draw_report(found, path)
    print(f"Plots: {path}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from dataset.interchange.verl_import import import_verl

    try:
        card = import_verl(options.sources, options.out, root=options.root)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    _say_what_is_there(options.out, card)
    return 0


def _export(options: argparse.Namespace) -> int:
    from dataset.interchange.export import export_dataset

    dataset = _open(options.dataset)
    try:
        with Counting("Rendering", print) as counting:
            found = export_dataset(dataset, options.out, format=options.format, report=counting.show)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    print(f"Wrote {found.num_samples} samples to {options.out}.")
    if found.failed:
        print(f"{len(found.failed)} could not be rendered:", file=sys.stderr)
        for entry in found.failed[:_SHOWN_REASONS]:
            print(f"  {entry.path}: {entry.reason}", file=sys.stderr)
    return 0


def _open(folder: Path) -> Dataset:
    try:
        return Dataset(folder)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
