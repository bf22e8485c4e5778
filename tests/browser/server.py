"""A program that serves the dashboard over a folder of runs: `python -m tests.browser.server RUNS PORT`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.config.schema import Config
from dashboard.launching.launcher import Launched
from dashboard.serve import serve
from dashboard.settings import from_environment
from store.database import Database, database_url, open_database
from store.records import RunDetail
from store.runs import register_run


class StoreOnlyLauncher:
    """A launcher that only writes to the store. A started run is queued and never trains."""

    def __init__(self, database: Database) -> None:
        self._database = database

    config_class = Config

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        run_id = register_run(
            self._database, name="started-here", folder="started-here", steps=10,
            config={"overrides": list(overrides)}, environment={},
        )  # fmt: skip
        return Launched(run_id, "Run started-here is queued.")

    def resume(self, run: RunDetail, by: str) -> Launched:
        return Launched(run.id, f"Run {run.name} resumes from its last checkpoint.")

    def end(self, run: RunDetail) -> str:
        return f"{run.name} was told to end."

    def configs(self) -> Mapping[str, str]:
        return {"demo.yaml": "name: demo"}


def main() -> None:
    runs_dir = Path(sys.argv[1])
    database = open_database(database_url(runs_dir))
    settings = from_environment(runs_dir=runs_dir, port=int(sys.argv[2]))
    serve(settings, database, StoreOnlyLauncher(database), say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
