"""`videossr runs`: list, show, stop and resume runs."""

import argparse
import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cluster.cli.options import add_address, add_command_parser, add_dashboard, add_follow, add_runs
from cluster.cli.submit import run_job
from cluster.cli.train import train_here
from cluster.config.errors import ConfigError
from cluster.terminal import DONE, say
from vocabulary.run_states import ENDED, RunState

if TYPE_CHECKING:
    from store.database import Database
    from store.records import RunDetail

_DEFAULT_LIMIT, _MAX_LIMIT = 50, 10_000  # runs in the list


def add_commands(commands: Any) -> None:
    """Add `runs` to the subparsers of `videossr`."""
    runs = add_command_parser(commands, "runs", "list, show, stop and resume runs")
    actions = runs.add_subparsers(required=True, metavar="COMMAND")
    listed = _add_action(actions, "list", _list, "list all runs, newest first")
    listed.add_argument(
        "--state",
        action="append",
        choices=get_args(RunState),
        help="list only runs in this state; may be given several times",
    )
    listed.add_argument(
        "--limit",
        type=_limit,
        default=_DEFAULT_LIMIT,
        metavar="N",
        help=f"list at most N runs; default: {_DEFAULT_LIMIT}",
    )
    listed.add_argument("--json", action="store_true", help="print a JSON array, for programs")
    _add_run_name(_add_action(actions, "show", _show, "show everything about one run"))
    stop = _add_action(actions, "stop", _stop, "stop a run after its current step, with a checkpoint")
    _add_run_name(stop)
    stop.add_argument(
        "--now", action="store_true", help="end its processes at once, without writing a checkpoint"
    )
    add_address(stop)
    resume = _add_action(actions, "resume", _resume, "resume a run from its last checkpoint")
    _add_run_name(resume)
    resume.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings to change, such as train.steps=10"
    )
    add_dashboard(resume)
    add_address(resume)
    add_follow(resume)


def _add_action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], words: str) -> Any:
    action = add_command_parser(actions, name, words)
    add_runs(action)
    action.set_defaults(run=run)
    return action


def _add_run_name(action: argparse.ArgumentParser) -> None:
    action.add_argument("name", metavar="RUN", help="name of the run, or its number in the run store")


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"is not a number from 1 to {_MAX_LIMIT}")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    from cluster.runs.lookup import open_existing_store

    with open_existing_store(options.runs) as database:
        from store.reading.reader import RunReader

        page = RunReader(database).runs(states=options.state or (), limit=options.limit)
    if options.json:
        say(json.dumps([run.model_dump() for run in page.items], indent=2))
        return DONE
    if not page.items:
        say("No run is in that state." if options.state else "There are no runs yet.")
        return DONE
    from rich.console import Console

    from cluster.cli.runs_text import runs_table

    Console(highlight=False).print(runs_table(page.items, time.time()))
    if page.total > len(page.items):
        say(f"... and {page.total - len(page.items)} older ones: --limit {page.total}")
    return DONE


def _show(options: argparse.Namespace) -> int:
    from cluster.cli.runs_text import run_lines
    from cluster.runs.lookup import find_run, open_existing_store
    from store.reading.reader import RunReader

    with open_existing_store(options.runs) as database:
        reader = RunReader(database)
        for line in run_lines(reader, find_run(reader, options.name), time.time()):
            say(line)
    return DONE


def _stop(options: argparse.Namespace) -> int:
    from cluster.jobs.stop import stop_now
    from cluster.runs.lookup import find_run, open_existing_store
    from store.reading.reader import RunReader

    with open_existing_store(options.runs) as database:
        run = find_run(RunReader(database), options.name)
        if run.state in ENDED:
            raise ConfigError(
                "RUN",
                options.name,
                f"has ended ({run.state}), so there is nothing to stop",
                "List the runs with `videossr runs list`",
            )
        if options.now:
            say(stop_now(run, options.address))
        else:
            say(_request_stop(database, run))
    say(f"Resume it with:  videossr runs resume {shlex.quote(run.name)}")
    return DONE


def _request_stop(database: "Database", run: "RunDetail") -> str:
    """Ask the run to stop after its current step. Return what to tell the user."""
    from cluster.jobs.submit import current_user
    from store.requests import add_request

    number = add_request(database, run.id, "stop", current_user())
    if run.state == "stalled":
        return (
            f"{run.name} was asked to stop (request {number}), but it is stalled. If its process is gone, nothing "
            "will answer. --now ends a process that hangs."
        )
    return f"{run.name} stops after its current step (request {number})."


def _resume(options: argparse.Namespace) -> int:
    from cluster.runs.lookup import find_run, open_existing_store
    from store.reading.reader import RunReader

    with open_existing_store(options.runs) as database:
        run = find_run(RunReader(database), options.name)
    if options.address is not None:
        return _resume_on_cluster(options, run)
    file = Path(run.folder) / "config.yaml"
    if not file.exists():
        raise ConfigError(
            "RUN",
            run.name,
            f"its folder {run.folder} is not on this machine",
            "Run this command where the folder is, or give the Ray cluster that it ran on as --address",
        )
    return train_here(file, options.overrides, resume=run.folder, dashboard=options.dashboard)


def _resume_on_cluster(options: argparse.Namespace, run: "RunDetail") -> int:
    import yaml

    from cluster.config.load import settings_of
    from cluster.jobs.submit import build_config_for_cluster

    text = yaml.safe_dump(run.config, sort_keys=False)
    resumed = [f"name={run.name}", f"runs_dir={Path(run.folder).parent}"]
    build_config_for_cluster(settings_of(text, f"run {run.name}", [*options.overrides, *resumed]), say)
    return run_job(
        text, run.name, options.overrides, address=options.address, follow=options.follow, resume=run.folder
    )
