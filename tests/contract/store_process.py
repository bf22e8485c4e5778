"""A process that writes a run: `python -m tests.contract.store_process URL NAME STEPS`.

With STEPS=0 it records FIRST steps, prints "waiting", and waits for a line on stdin. Then it records steps until it is
killed, and prints the number of each.
"""

import itertools
import sys
import time

from store.database import open_database
from store.runs import register_run
from store.writing.writer import RunWriter

METRICS = 5  # number of metrics in each step
FIRST = 100
_FLUSH_S = 0.05  # short, so that several writers write at the same time


def main() -> None:
    url, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    database = open_database(url)
    run_id = register_run(database, name=name, folder=f"/{name}", steps=steps, config={}, environment={})
    if steps == 0:
        _write_until_killed(RunWriter(database, run_id))
    writer = RunWriter(database, run_id, flush_s=_FLUSH_S)
    writer.state("running")
    for step in range(steps):
        _record(writer, step)
        if step % 20 == 0:
            time.sleep(_FLUSH_S)  # so that there are many batches
    writer.state("done")
    writer.close(600)


def _write_until_killed(writer: RunWriter) -> None:
    for step in range(FIRST):
        _record(writer, step)
    print("waiting", flush=True)
    sys.stdin.readline()
    for step in itertools.count(FIRST):
        _record(writer, step)
        print(step, flush=True)
        time.sleep(0.002)


def _record(writer: RunWriter, step: int) -> None:
    writer.step(step, time.time(), {f"metric/{number}": float(step + number) for number in range(METRICS)})


if __name__ == "__main__":
    main()
