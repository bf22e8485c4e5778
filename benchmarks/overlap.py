"""Compare the time of a step with the longer of rollout and update, when both run at the same time.

    python -m benchmarks.overlap               # about three minutes

Runs some steps of the demo (no warm-up, no evaluation) with train.max_staleness 0 and 1. Seconds come from the run's
metrics: medians over steps, without the first few. Stored as results/overlap.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.table import Result, Target, show, store

ROOT = Path(__file__).parents[1]
COMMAND = "python -m benchmarks.overlap"
WARM_STEPS = 5


def main() -> None:
    """Measure both settings and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        for staleness in (0, 1):
            results += _results(_run(Path(scratch), staleness, steps), staleness)
    store("overlap", results)
    show(results)


def _run(scratch: Path, staleness: int, steps: int) -> list[dict[str, float]]:
    """Train, and return the metrics of the measured steps."""
    name = f"staleness-{staleness}"
    settings = {
        "name": name,
        "runs_dir": scratch,
        "warmup": "null",
        "data.num_drawn": 64,
        "train.steps": steps,
        "train.checkpoint_every": 1000,
        "train.max_staleness": staleness,
        "grpo.importance": "token" if staleness else "none",
        "evaluation.samples_per_task": 0,
    }
    command = [str(Path(sys.executable).parent / "videossr"), "train", str(ROOT / "configs/demo.yaml"),
               "--no-dashboard"]  # fmt: skip
    command += [f"{key}={value}" for key, value in settings.items()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = (scratch / name / "metrics.jsonl").read_text().splitlines()
    # The first step includes starting, and the last one its checkpoint.
    return [json.loads(line) for line in lines][WARM_STEPS:-1]


def _results(steps: list[dict[str, float]], staleness: int) -> list[Result]:
    name = f"max_staleness {staleness}"
    seconds = {
        part: median(step[f"seconds/{part}"] for step in steps) for part in ("step", "rollout", "update")
    }
    ratio = median(
        step["seconds/step"] / max(step["seconds/rollout"], step["seconds/update"]) for step in steps
    )
    target = Target(bound="at most", limit=1.15) if staleness else None
    rows = [
        *[(part, value, "s", None) for part, value in seconds.items()],
        ("step over the longer of rollout and update", ratio, "times", target),
    ]
    return [
        Result(name=f"{name}: {what}", value=value, unit=unit, target=bound, command=COMMAND)
        for what, value, unit, bound in rows
    ]


if __name__ == "__main__":
    main()
