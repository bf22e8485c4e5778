"""Opening the run store for a command, and finding a run in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.errors import ConfigError

if TYPE_CHECKING:
    from store.database import Database
    from store.reading.reader import RunReader
    from store.records import RunDetail

_MAX_KEY_DIGITS = 18  # largest number of digits that always fits a run's number, a 64-bit integer


@contextmanager
def open_store(runs_dir: Path) -> Iterator["Database"]:
    """Open the run store of `runs_dir`, or the one that VIDEOSSR_DB names, and create it if it does not exist.

    Raises:
        ConfigError: the store cannot be opened, or did not answer during the block.
    """
    # Imported here, because the import is slow and a command without a store is refused before it.
    from store.database import StoreError, database_url, open_database

    try:
        database = open_database(database_url(runs_dir))
        try:
            yield database
        finally:
            database.close()
    except StoreError as error:
        raise ConfigError.quoting(error) from None


@contextmanager
def open_existing_store(runs_dir: Path) -> Iterator["Database"]:
    """Open the run store of `runs_dir`, or the one that VIDEOSSR_DB names.

    Raises:
        ConfigError: there is no store, or it cannot be opened, or it did not answer during the block.
    """
    if not os.environ.get("VIDEOSSR_DB", "").strip() and not (runs_dir / "videossr.db").exists():
        raise ConfigError(
            "--runs",
            str(runs_dir),
            "there are no runs yet",
            "Start one with `videossr train configs/demo.yaml`, or name the folder of the runs",
        )
    with open_store(runs_dir) as database:
        yield database


def find_run(reader: "RunReader", run: str) -> "RunDetail":
    """Return the newest run with that name, else the run with that number. Raises ConfigError if there is none."""
    found = reader.run_by_name(run)
    is_number = run.isascii() and run.isdecimal() and len(run) <= _MAX_KEY_DIGITS
    if found is None and is_number:
        found = reader.run(int(run))
    if found is None:
        raise ConfigError(
            "RUN", run, "no run has that name or number", "List the runs with `videossr runs list`"
        )
    return found
