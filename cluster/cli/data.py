"""`videossr data`: build, show, stats, import and export datasets."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.options import RAY_ADDRESS_HELP, add_command_parser
from cluster.config.errors import ConfigError
from cluster.terminal import DONE, FAILED, STOPPED, CountingProgress, say, say_error
from vocabulary.problems import NO_VALUE

if TYPE_CHECKING:
    from dataset.build import BuildProgress
    from dataset.store import BuildSettings, Card, Dataset
    from pretext.video.info import Skipped

_MAX_SHOWN_SKIPPED = 8
_SECTIONS = ("frames", "grounding", "jigsaw", "counting")  # sections that the command line can override
_OPTIONS = ("count", "seed", "mix")  # settings that have an option


def add_commands(commands: Any) -> None:
    """Add `data` to the subparsers of `videossr`."""
    data = add_command_parser(commands, "data", "build datasets, look at them, import and export them")
    verbs = data.add_subparsers(required=True, metavar="COMMAND")
    _add_build(verbs)
    _add_show_and_stats(verbs)
    _add_import_and_export(verbs)


def _add_build(verbs: Any) -> None:
    build = add_command_parser(
        verbs, "build", "make a dataset from folders of videos; resumes an interrupted build"
    )
    build.add_argument(
        "--videos",
        action="append",
        required=True,
        metavar="DIR",
        help="folder of videos, searched recursively, or a URL such as s3://bucket/videos; may be given several times",
    )
    build.add_argument("--out", type=_folder, required=True, metavar="DATASET", help="folder to write")
    build.add_argument(
        "--mix",
        default="paper",
        help="'paper' for the mix of VideoSSR-30K (the default), or weights such as grounding=0.4,jigsaw=0.6",
    )
    build.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="number of samples; default: 30000 for the paper's mix, else one for each task and video",
    )
    build.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the samples; default: 0")
    build.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="seconds after which a video is skipped; default: 120",
    )
    build.add_argument("--address", default="auto", help=RAY_ADDRESS_HELP)
    build.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings of frames, grounding, jigsaw and counting, named as in the data section of a run's "
        "configuration, such as jigsaw.gap=2",
    )
    build.set_defaults(run=_build)


def _add_show_and_stats(verbs: Any) -> None:
    show = add_command_parser(verbs, "show", "draw samples as contact sheets (PNG)")
    show.add_argument("dataset", type=Path, metavar="DATASET", help="folder of a dataset")
    show.add_argument(
        "sample", nargs="?", metavar="ID", help="id or number of a sample; default: one of each kind"
    )
    show.add_argument("--out", type=Path, metavar="DIR", help="folder to write; default: DATASET/sheets")
    show.set_defaults(run=_show)

    stats = add_command_parser(
        verbs, "stats", "count the samples of a dataset, and measure the scores of guessing without watching"
    )
    stats.add_argument("dataset", type=Path, metavar="DATASET", help="folder of a dataset")
    stats.add_argument(
        "--jigsaws",
        type=int,
        default=100,
        metavar="N",
        help="number of jigsaws to solve from the cuts between their clips alone; default: 100",
    )
    stats.add_argument(
        "--out", type=Path, metavar="PNG", help="file for the plots; default: DATASET/stats.png"
    )
    stats.set_defaults(run=_stats)


def _add_import_and_export(verbs: Any) -> None:
    imported = add_command_parser(verbs, "import", "read datasets in VideoSSR's published layout")
    imported.add_argument(
        "sources", nargs="+", type=Path, metavar="FILE", help="parquet or JSON files, or folders of them"
    )
    imported.add_argument("--out", type=_folder, required=True, metavar="DATASET", help="folder to write")
    imported.add_argument(
        "--root", type=Path, metavar="DIR", help="folder that holds the frame files on this machine"
    )
    imported.set_defaults(run=_import)

    export = add_command_parser(verbs, "export", "render the frames of a dataset for other trainers")
    export.add_argument("dataset", type=Path, metavar="DATASET", help="folder of a dataset")
    export.add_argument(
        "--format", choices=("verl", "jsonl", "webdataset"), required=True, help="layout to write"
    )
    export.add_argument("--out", type=_folder, required=True, metavar="DIR", help="folder to write")
    export.set_defaults(run=_export)


def _folder(text: str) -> Path:
    from pretext.video.sources import is_url

    if is_url(text):
        raise argparse.ArgumentTypeError(f"{text!r} is a URL: datasets are written to folders.")
    return Path(text)


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0.")
    return float(text)


@contextmanager
def _dataset_errors_refused() -> Iterator[None]:
    """Turn a DatasetError in the block into a ConfigError."""
    from dataset.store import DatasetError

    try:
        yield
    except DatasetError as error:
        raise ConfigError.quoting(error) from None


def settings_of(
    videos: Sequence[str], mix: str, count: int | None, seed: int, overrides: Sequence[str]
) -> "BuildSettings":
    """Return the build settings that a command line asks for. Raises ConfigError."""
    from cluster.config.load import apply_override, validated
    from dataset.build import PAPER_COUNT
    from dataset.store import BuildSettings
    from pretext.video.sources import absolute

    if mix == "paper" and count is None:
        count = PAPER_COUNT
    tree: dict[str, Any] = {"videos": [absolute(folder) for folder in videos]}
    tree |= {"mix": _weights(mix), "count": count, "seed": seed}
    for override in overrides:
        section = override.partition(".")[0]
        if section not in _SECTIONS:
            raise ConfigError(
                repr(override),
                NO_VALUE,
                "there is no such setting",
                f"Override settings of {', '.join(_SECTIONS)}, as in jigsaw.gap=2",
            )
        apply_override(tree, override)

    def as_typed(name: str) -> str:
        return f"--{name}" if name.partition(".")[0] in _OPTIONS else name

    return validated(BuildSettings, tree, as_typed)


def _weights(mix: str) -> dict[str, float]:
    """Parse --mix. Raises ConfigError."""
    from dataset.build import PAPER_MIX

    if mix == "paper":
        return dict(PAPER_MIX)
    weights = {}
    for part in mix.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            raise ConfigError(
                "--mix",
                mix,
                "weights have the form task=number, as in grounding=0.4,jigsaw=0.6",
                "Write them in this form, or give 'paper'",
            ) from None
    return weights


def _build(options: argparse.Namespace) -> int:
    from cluster.training.ray_session import ray_cluster
    from dataset.build import build, check, existing_dataset, find_all

    settings = settings_of(options.videos, options.mix, options.count, options.seed, options.overrides)
    titles = {"videos": "Looking at videos", "samples": "Drawing samples"}
    limit = {} if options.timeout is None else {"timeout_s": options.timeout}
    try:
        with _dataset_errors_refused():
            check(settings)  # refuses what can be refused before Ray starts
            paths = find_all(settings.videos)
            dataset = existing_dataset(settings, options.out)
            if dataset is not None:
                _say_complete(options.out, len(set(paths) - dataset.inspected_paths()))
                return DONE
            say(f"{len(paths)} videos. Starting ...")
            with ray_cluster(options.address), CountingProgress(titles["videos"]) as counting:

                def report(progress: "BuildProgress") -> None:
                    note = f"{progress.num_skipped} skipped" if progress.num_skipped else ""
                    counting.show(progress.done, progress.total, note, titles[progress.stage])

                card = build(settings, paths, options.out, report=report, **limit)
    except KeyboardInterrupt:
        say_error("\nStopped. Run the same command again to continue from here.")
        return STOPPED
    _say_contents(options.out, card)
    return DONE


def _say_complete(folder: Path, num_new_videos: int) -> None:
    say(f"{folder}: is complete already.")
    if num_new_videos:
        say(f"{num_new_videos} videos are new since then: build another dataset to use them.")


def _say_contents(folder: Path, card: "Card") -> None:
    """Print what a finished build or import has written."""
    from dataset.store import Dataset

    dataset = Dataset(folder)
    by_task = ", ".join(f"{len(truths)} {task}" for task, truths in sorted(dataset.truths().items()))
    sources = f" from {card.num_videos} videos" if card.settings is not None else ""
    say(f"{folder}: {card.num_samples} samples ({by_task}){sources}.")
    if card.num_skipped:
        say(f"{card.num_skipped} skipped (all in {folder / 'rejected.parquet'}):")
        _name_some(dataset.skipped(), say)
    say(f"Look at it: videossr data show {folder}; videossr data stats {folder}")


def _name_some(skipped: "Iterable[Skipped]", show: Any) -> None:
    """Name the first few skipped videos or samples with their reasons."""
    entries = list(skipped)
    for entry in entries[:_MAX_SHOWN_SKIPPED]:
        show(f"  {Path(entry.path).name}: {entry.reason}")
    if len(entries) > _MAX_SHOWN_SKIPPED:
        show(f"  and {len(entries) - _MAX_SHOWN_SKIPPED} more")


def _show(options: argparse.Namespace) -> int:
    from dataset.view.contact_sheet import draw_sheet
    from pretext.stream import render
    from pretext.video import VideoError

    with _dataset_errors_refused():
        dataset = _open(options.dataset)
        recipes = [dataset.find(options.sample)] if options.sample else dataset.one_of_each_kind()
    folder = options.out or options.dataset / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    num_drawn = 0
    for recipe in recipes:
        path = folder / f"{recipe.id}.png"
        try:
            draw_sheet(render(recipe), path)
        except VideoError as error:
            say_error(f"sample {recipe.id}: {error}")
            continue
        num_drawn += 1
        kind = " ".join(word for word in (recipe.task, recipe.params.get("perturbation")) if word)
        say(f"{path}: {kind}, truth {recipe.truth}")
    return DONE if num_drawn else FAILED


def _stats(options: argparse.Namespace) -> int:
    from dataset.stats.plot import draw_report
    from dataset.stats.report import make_report
    from dataset.stats.text import print_report

    with _dataset_errors_refused():
        found = make_report(_open(options.dataset), jigsaw_samples=options.jigsaws)
    print_report(found)
    path = options.out or options.dataset / "stats.png"
    draw_report(found, path)
    say(f"Plots: {path}")
    return DONE


def _import(options: argparse.Namespace) -> int:
    from dataset.interchange.verl_import import import_verl

    with _dataset_errors_refused():
        card = import_verl(options.sources, options.out, root=options.root)
    _say_contents(options.out, card)
    return DONE


def _export(options: argparse.Namespace) -> int:
    from dataset.interchange.export import export_dataset

    with _dataset_errors_refused(), CountingProgress("Rendering") as counting:
        found = export_dataset(
            _open(options.dataset), options.out, format=options.format, report=counting.show
        )
    say(f"Wrote {found.num_samples} samples to {options.out}.")
    if found.skipped:
        say_error(f"{len(found.skipped)} could not be rendered:")
        _name_some(found.skipped, say_error)
    return DONE


def _open(folder: Path) -> "Dataset":
    from dataset.store import Dataset

    return Dataset(folder)
