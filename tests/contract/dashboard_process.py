"""A dashboard in a process of its own, and one that writes to its store.

python -m tests.contract.dashboard_process serve FOLDER     # prints its address
python -m tests.contract.dashboard_process write FOLDER     # a step for each line that it reads
"""

import sys
import time
from pathlib import Path

from dashboard.serve import serve
from dashboard.settings import from_environment
from store.database import open_database
from store.writer import RunWriter
from tests.unit.dashboard.example import STEPS, Recorder


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    database = open_database(f"sqlite:///{folder / 'videossr.db'}")
    if what == "serve":
        settings = from_environment(runs_dir=folder, port=0)
        serve(settings, database, Recorder(), say=lambda line: print(line, flush=True))
        print("stopped", flush=True)
        return
    writer = RunWriter(database, 1, flush_s=0.05)
    for number, _ in enumerate(sys.stdin):
        writer.step(STEPS + number, time.time(), {"reward/mean": 0.5})
        print(time.time(), flush=True)
    writer.close()


if __name__ == "__main__":
    main()
