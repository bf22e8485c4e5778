"""The run store, as commands open it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.config.load import ConfigError
from store.database import Database, StoreError, database_url, open_database
from store.reading.reader import RunReader
from store.records import RunDetail


@contextmanager
def opened_store(runs_dir: Path) -> Iterator[Database]:
    """The store of `runs_dir`, or the one VIDEOSSR_DB names, made where there is none.

    Raises:
        ConfigError: it cannot be opened, or did not answer within the block.
    """
    try:
        database = open_database(database_url(runs_dir))
        try:
            yield database
        finally:
            database.close()
    except StoreError as error:
        raise ConfigError(str(error)) from None


@contextmanager
def existing_store(runs_dir: Path) -> Iterator[Database]:
    """As opened_store, but none is made. Raises ConfigError where there is none."""
    if not os.environ.get("VIDEOSSR_DB", "").strip() and not (runs_dir / "videossr.db").exists():
        raise ConfigError(
            f"--runs={str(runs_dir)!r}: there are no runs yet. Start one with `videossr train configs/demo.yaml`, or "
            "name the folder of the runs."
        )
    with opened_store(runs_dir) as database:
        yield database


def find_run(reader: RunReader, run: str) -> RunDetail:
    """The newest run of that name, or else the one of that number. Raises ConfigError."""
    found = reader.run_by_name(run)
    if (
        found is None and run.isascii() and run.isdecimal() and len(run) < 19
    ):  # 19 digits may be too many for a key
        found = reader.run(int(run))
    if found is None:
        raise ConfigError(
            f"RUN={run!r}: no run has that name or number. `videossr runs list` shows them all."
        )
    return found
