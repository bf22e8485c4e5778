"""A dashboard in its own process, and a process that writes to its store.

python -m tests.contract.dashboard_process serve FOLDER     # prints its address
python -m tests.contract.dashboard_process write FOLDER     # records a step for each line on stdin
python -m tests.contract.dashboard_process fuzz FOLDER      # a server without rate limits; prints its address
"""

import itertools
import socket
import sys
import time
from pathlib import Path

import uvicorn

from dashboard.access.security import Authenticator
from dashboard.app import create_app
from dashboard.serve import serve
from dashboard.settings import from_environment
from store.database import Database, open_database
from store.writing.writer import RunWriter
from tests.unit.dashboard.example import STEPS, Recorder


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    database = open_database(f"sqlite:///{folder / 'videossr.db'}")
    if what == "serve":
        settings = from_environment(runs_dir=folder, port=0)
        serve(settings, database, Recorder(), say=lambda line: print(line, flush=True))
        print("stopped", flush=True)
        return
    if what == "fuzz":
        _serve_to_fuzzer(folder, database)
        return
    writer = RunWriter(database, 1, flush_s=0.05)
    for number, _ in enumerate(sys.stdin):
        writer.step(STEPS + number, time.time(), {"reward/mean": 0.5})
        print(time.time(), flush=True)
    writer.close()


def _serve_to_fuzzer(folder: Path, database: Database) -> None:
    """Serve with the environment's tokens. Rate limits never act: each request moves their clock far ahead."""
    settings = from_environment(runs_dir=folder)
    app = create_app(settings, database, Recorder())
    app.state.authenticator = Authenticator(settings, clock=itertools.count(step=1000).__next__)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
