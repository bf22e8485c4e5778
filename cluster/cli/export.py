"""`videossr export`."""

import argparse
from pathlib import Path
from typing import Any

from cluster.cli.options import add_command_parser
from cluster.terminal import DONE, say


def add_command(commands: Any) -> None:
    """Add `export` to the subparsers of `videossr`."""
    export = add_command_parser(commands, "export", "write the model of a run as a Hugging Face folder")
    export.add_argument("run_folder", metavar="RUN", help="name or folder of a run")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    export.add_argument(
        "--best",
        action="store_true",
        help="export the checkpoint with the best held-out score instead of the last one",
    )
    export.add_argument(
        "--adapter", action="store_true", help="export only the adapters of a LoRA run, in PEFT's format"
    )
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from cluster.checkpoints.export import export

    export(options.run_folder, options.out, best=options.best, adapter=options.adapter)
    say(f"Wrote {options.out}: load it with AutoModelForImageTextToText.from_pretrained or vLLM.")
    return DONE
