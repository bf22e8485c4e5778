"""`videossr runs list|show|stop|resume`."""

import argparse
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml

from cluster.cli.options import add_address, add_dashboard, add_follow, add_runs
from cluster.cli.train import train_here
from cluster.config.load import ConfigError, settings_of
from cluster.jobs.submit import checked_for_elsewhere, run_job, who
from store.records import ENDED, RunDetail, RunState

if TYPE_CHECKING:
    from store.database import Database

_SHOWN = 50  # of the list, unless more are asked for


def add_commands(commands: Any) -> None:
    """Add them to the subparsers of `videossr`."""
    runs = commands.add_parser("runs", help="look at runs, stop them and let them go on")
    actions = runs.add_subparsers(required=True, metavar="COMMAND")
    listed = _action(actions, "list", _list, "all runs, the newest first")
    listed.add_argument(
        "--state", action="append", choices=get_args(RunState), help="only those in this state"
    )
    listed.add_argument(
        "--limit", type=_count, default=_SHOWN, metavar="N", help=f"at most so many ({_SHOWN})"
    )
    listed.add_argument("--json", action="store_true", help="for programs: one JSON array")
    _of_run(_action(actions, "show", _show, "everything of one run"))
    stop = _action(actions, "stop", _stop, "let a run end after the step that it is at, with a checkpoint")
    _of_run(stop)
    stop.add_argument("--now", action="store_true", help="end its processes at once, without a checkpoint")
    add_address(stop)
    resume = _action(actions, "resume", _resume, "let a run go on from its last checkpoint")
    _of_run(resume)
    resume.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change, dotted")
    add_dashboard(resume)
    add_address(resume)
    add_follow(resume)


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], words: str) -> Any:
    action = actions.add_parser(name, help=words)
    add_runs(action)
    action.set_defaults(run=run)
    return action


def _of_run(action: argparse.ArgumentParser) -> None:
    action.add_argument("name", metavar="RUN", help="its name, or its number in the store")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("is not a number from 1 to 10000")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.cli.runs_text import runs_table
    from cluster.runs.lookup import existing_store
    from store.reading.reader import RunReader

    with existing_store(options.runs) as database:
        page = RunReader(database).runs(states=options.state or (), limit=options.limit)
    if options.json:
        print(json.dumps([run.model_dump() for run in page.items], indent=2))
        return 0
    if not page.items:
        print("No run is in that state." if options.state else "There are no runs yet.")
        return 0
    Console(highlight=False).print(runs_table(page.items, time.time()))
    if page.total > len(page.items):
        print(f"... and {page.total - len(page.items)} older ones: --limit {page.total}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from cluster.cli.runs_text import run_lines
    from cluster.runs.lookup import existing_store, find_run
    from store.reading.reader import RunReader

    with existing_store(options.runs) as database:
        reader = RunReader(database)
        for line in run_lines(reader, find_run(reader, options.name), time.time()):
            print(line)
    return 0


def _stop(options: argparse.Namespace) -> int:
    from cluster.jobs.stop import stop_now
    from cluster.runs.lookup import existing_store, find_run
    from store.reading.reader import RunReader

    with existing_store(options.runs) as database:
        run = find_run(RunReader(database), options.name)
        if run.state in ENDED:
            raise ConfigError(
                f"RUN={options.name!r}: has ended ({run.state}), so there is nothing to stop. `videossr runs list` "
                "shows which go on."
            )
        if options.now:
            print(stop_now(run, options.address))
        else:
            print(_stop_soon(database, run))
    print(f"Let it go on with:  videossr runs resume {shlex.quote(run.name)}")
    return 0


def _stop_soon(database: "Database", run: RunDetail) -> str:
    from store.requests import ask

    number = ask(database, run.id, "stop", who())
    if run.state == "stalled":
        return (
            f"{run.name} was asked to stop (request {number}), but it is stalled: if its process is gone, nothing "
            "will answer. --now ends a process that hangs."
        )
    return f"{run.name} stops after the step that it is at (request {number})."


def _resume(options: argparse.Namespace) -> int:
    from cluster.runs.lookup import existing_store, find_run
    from store.reading.reader import RunReader

    with existing_store(options.runs) as database:
        run = find_run(RunReader(database), options.name)
    if options.address is not None:
        text = yaml.safe_dump(run.config, sort_keys=False)
        going_on = [f"name={run.name}", f"runs_dir={Path(run.folder).parent}"]
        settings = settings_of(text, f"run {run.name}", [*options.overrides, *going_on])
        checked_for_elsewhere(settings, lambda words: print(words, flush=True))
        return run_job(
            text,
            run.name,
            options.overrides,
            address=options.address,
            follow=options.follow,
            resume=run.folder,
        )
    file = Path(run.folder) / "config.yaml"
    if not file.exists():
        raise ConfigError(
            f"RUN={run.name!r}: its folder {run.folder} is not on this machine. Say it where it is, or name the Ray "
            "that it ran on by --address."
        )
    return train_here(file, options.overrides, resume=run.folder, dashboard=options.dashboard)
