"""A process that writes a run: `python -m tests.contract.store_process URL NAME STEPS`.

With STEPS 0 it writes until it is killed, and prints each step's number once it was said.
"""

import sys
import time

from store.database import open_database
from store.runs import register_run
from store.writing.writer import RunWriter

METRICS = 5


def main() -> None:
    url, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    database = open_database(url)
    run_id = register_run(database, name=name, folder=f"/{name}", steps=steps, config={}, environment={})
    writer = RunWriter(database, run_id)
    writer.state("running")
    step = 0
    while steps == 0 or step < steps:
        now = time.time()
        writer.step(step, now, {f"metric/{number}": float(step + number) for number in range(METRICS)})
        if steps == 0:
            print(step, now, flush=True)
        elif step % 20 == 0:
            time.sleep(0.02)  # so that many batches are written, and not one
        step += 1
        time.sleep(0.002 if steps == 0 else 0.0005)
    writer.state("done")
    writer.close(60)


if __name__ == "__main__":
    main()
