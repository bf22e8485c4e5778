"""The `videossr` command."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.cli import bench, dashboard, data, runs, train
from cluster.config.load import ConfigError
from cluster.jobs import submit

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
    train.add_command(commands)
    submit.add_command(commands)
    runs.add_commands(commands)
    dashboard.add_command(commands)
    export = commands.add_parser("export", help="write a run's model as a Hugging Face folder")
    export.add_argument("run_folder", metavar="RUN", help="a run's name, or its folder")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    export.add_argument(
        "--best", action="store_true", help="the checkpoint of the best evaluation, not the last"
    )
    export.add_argument("--adapter", action="store_true", help="of a LoRA run, the adapters alone, for PEFT")
    export.set_defaults(run=_export)
    data.add_commands(commands)
    bench.add_commands(commands)
    return parser


def _export(options: argparse.Namespace) -> int:
    from cluster.checkpoints.export import export

    export(options.run_folder, options.out, best=options.best, adapter=options.adapter)
    print(f"Wrote {options.out}: load it with AutoModelForImageTextToText.from_pretrained or vLLM.")
    return 0
