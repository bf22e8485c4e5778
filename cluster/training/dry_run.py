"""`videossr train CONFIG --dry-run`: show what a run would do, without starting anything or needing a GPU."""

import sys
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from cluster.config.schema import DRAWN, TINY_PREFIX, Config
from cluster.runs.folder import bucket_setting
from cluster.terminal import DONE, REFUSED
from cluster.training.placement import (
    gpus_needed,
    learner_memory_gib,
    memory_problems,
    model_size,
    role_plans,
    rollout_memory_gib,
)
from cluster.training.prepare import check_data, check_model, check_reward


def dry_run(config: Config) -> int:
    """Print configuration, placement and expected memory. Return exit status 0, or 2 if the run does not fit."""
    console = Console(highlight=False)
    check_reward(config)
    bucket = bucket_setting(config)
    if config.model.path.startswith((TINY_PREFIX, "/", ".")) or Path(config.model.path).is_dir():
        check_model(config)  # a model on the hub is checked where the run starts
    if config.data.dataset is None and config.data.videos != DRAWN and not Path(config.data.videos).is_dir():
        console.print(
            f"data.videos={config.data.videos!r} is not on this machine; it is checked where the run starts."
        )
    else:
        check_data(config)
    console.print("[bold]Configuration[/bold]")
    console.print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip(), markup=False)
    if bucket is not None:
        console.print(f"\nCheckpoints and frames: each run's own part of {bucket}", markup=False)
    console.print(f"\n[bold]Placement[/bold] ({gpus_needed(config)} GPUs)")
    console.print(_placement(config))
    size = model_size(config.model.path)
    if size is None:
        console.print(f"\nMemory: {config.model.path} is not on this machine, so its size is not known here.")
    else:
        console.print(
            f"\n[bold]Memory expected[/bold] ({config.model.path}, {size.parameters / 1e9:.3g} B parameters)"
        )
        console.print(_memory(config))
    problems = memory_problems(config)
    for problem in problems:
        print(problem, file=sys.stderr)
    return REFUSED if problems else DONE


def _placement(config: Config) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("process", "number", "CPUs each", "GPUs each", "where"):
        table.add_column(title, justify="left" if title in ("process", "where") else "right")
    for role in role_plans(config):
        table.add_row(role.name, str(role.count), f"{role.num_cpus:g}", f"{role.num_gpus:g}", role.where)
    return table


def _memory(config: Config) -> Table:
    size = model_size(config.model.path)
    assert size is not None
    per = "GPU" if config.cluster.device == "cuda" else "process"
    table = Table(box=None, pad_edge=False)
    table.add_column(f"per {per}")
    table.add_column("GiB", justify="right")
    table.add_column("of which")
    for name, parts in (
        ("learner rank", learner_memory_gib(config, size)),
        ("rollout engine", rollout_memory_gib(config, size)),
    ):
        detail = ", ".join(f"{part} {value:.1f}" for part, value in parts.items() if value >= 0.05)
        table.add_row(name, f"{sum(parts.values()):.1f}", detail)
    return table
