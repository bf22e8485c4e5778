"""The `videossr` command."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import bench_commands, data_commands
from cluster.load import ConfigError, load_config

_STOPPED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 0 done, 1 failed, 2 refused, 130 stopped."""
    options = _parse(arguments)
    # Before torch is imported. Threads that spin while they wait make two busy processes on two cores some
    # fifty times slower than threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Ray Train lists a checkpoint as one to go on from when it next looks: soon, not after its 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.3")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # see ray_session, which has to do it again
    try:
        return int(options.run(options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return _STOPPED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; overrides may stand before or after the options."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unknown option: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="videossr",
        description="Makes a video language model watch better, from unlabelled videos alone.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a model as a configuration says")
    train.add_argument(
        "config", type=Path, metavar="CONFIG", help="a YAML file, for example configs/demo.yaml"
    )
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, dotted: train.steps=10"
    )
    train.add_argument(
        "--dry-run", action="store_true", help="show the configuration, placement and memory; start nothing"
    )
    train.add_argument("--resume", metavar="RUN", help="go on with this run from its last checkpoint")
    train.set_defaults(run=_train)
    export = commands.add_parser("export", help="write a run's model as a Hugging Face folder")
    export.add_argument("run_folder", metavar="RUN", help="a run's name under runs/, or its folder")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    export.add_argument(
        "--best", action="store_true", help="the checkpoint of the best evaluation, not the last"
    )
    export.add_argument("--adapter", action="store_true", help="of a LoRA run, the adapters alone, for PEFT")
    export.set_defaults(run=_export)
    data_commands.add_commands(commands)
    bench_commands.add_commands(commands)
    return parser


def _train(options: argparse.Namespace) -> int:
    overrides = list(options.overrides)
    if options.resume:  # a run's name, or its folder
        run = Path(options.resume)
        overrides += [f"name={run.name}", *([f"runs_dir={run.parent}"] if run.parent != Path() else [])]
    config = load_config(options.config, overrides)
    if options.dry_run:
        from cluster.dry_run import dry_run

        return dry_run(config)
    from cluster.run import RunFailed, train

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        train(config, resume=options.resume is not None, say=say)
    except RunFailed as error:
        print(f"The run failed: {error}\n{_how_to_go_on(options, config.name)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped. {_how_to_go_on(options, config.name)}", file=sys.stderr)
        return _STOPPED
    return 0


def _how_to_go_on(options: argparse.Namespace, name: str) -> str:
    words = ["videossr", "train", str(options.config), *options.overrides, "--resume", name]
    return f"Go on from the last checkpoint with:\n  {shlex.join(words)}"


def _export(options: argparse.Namespace) -> int:
    from cluster.export import export

    export(options.run_folder, options.out, best=options.best, adapter=options.adapter)
    print(f"Wrote {options.out}: load it with AutoModelForImageTextToText.from_pretrained or vLLM.")
    return 0
