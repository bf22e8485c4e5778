"""Compare a whole learner step of ours with one of TRL's GRPOTrainer, in completions per second of one core.

    bash benchmarks/trl/install.sh            # once: TRL's environment, benchmarks/trl/.venv
    python -m benchmarks.against_trl          # about five minutes; stored as results/trl.json

Both get the same tiny Qwen3-VL with random weights, the same frames, question, rewards and 8 completions per prompt.
Nothing is generated. TRL gets the frames as images, because it does not support videos. The two take turns, each in its
own process on one core. Each process reports its median step; the table shows the best process. Times are processor
time; the last row ("clock over core's time") is the ratio of wall-clock to processor time. Equal losses show that both
do the same work: with one update per batch, the loss depends only on the advantages and the normalizer. Gradients
differ, because the model treats a video and a list of images differently.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import StepJob
from benchmarks.table import Result, Target, show, store

ROOT = Path(__file__).parents[1]
TRL_PYTHON = ROOT / "benchmarks/trl/.venv/bin/python"
SYSTEM = "Answer directly."
QUESTION = "Something is different for a while. From when to when, in seconds? Answer as start-end."
NUM_PROMPTS, GROUP_SIZE, SIDE_PX = 4, 8, 64
FRAMES = (48, 8)
TARGETS = {48: Target(bound="at least", limit=8)}
# float32 rounding, and the epsilon added to the standard deviation: 1e-4 in TRL, 1e-6 in ours.
SAME_LOSS = Target(bound="at most", limit=1e-4)
_TIMEOUT_S = 600

OURS, TUNED, PLAIN = "ours", "TRL, tuned", "TRL, own prompts"
Reports = Mapping[str, Sequence[Mapping[str, Any]]]  # by contender; one report per process


@dataclass(frozen=True)
class Contender:
    """One way to take the step: a module run by an interpreter."""

    name: str
    python: str
    arguments: tuple[str, ...]  # after `python -m`, before the job


def contenders(trl_python: Path) -> list[Contender]:
    """Return ours, and TRL with the two micro-batch sizes that were fastest of 4, 8, 16 and 32."""
    trl, theirs = str(trl_python), "benchmarks.trl_step"
    return [
        Contender(OURS, sys.executable, ("benchmarks.ours_step",)),
        *(Contender(TUNED, trl, (theirs, "--micro-batch", str(size))) for size in (8, 16)),
        Contender(PLAIN, trl, (theirs, "--own-prompts")),
    ]


def make_job(folder: Path, *, num_frames: int, num_steps: int) -> Path:
    """Write a job with its model and frames (noise, because content does not affect speed) to `folder`."""
    from transformers import AutoTokenizer

    from learner.modeling.tiny import create_tiny_model

    times = [f"<{second}.{tenth} seconds>" for second in range(30) for tenth in range(10)]
    corpus = [SYSTEM, "system user assistant", QUESTION, *times]
    model = create_tiny_model(folder / "model", corpus=corpus * 2)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rng = np.random.default_rng(0)

    def completion() -> list[int]:
        start, end = sorted(rng.integers(0, 240, 2) / 10)
        return [*tokenizer.encode(f"{start:.1f}-{end:.1f}"), tokenizer.eos_token_id]

    frames = folder / f"{num_frames}.npz"
    shape = (NUM_PROMPTS, num_frames, SIDE_PX, SIDE_PX, 3)
    np.savez(
        frames,
        frames=rng.integers(0, 256, shape, np.uint8),
        times_s=np.tile(np.arange(num_frames) / 2, (NUM_PROMPTS, 1)),
    )
    path = folder / f"{num_frames}.json"
    StepJob(
        model=str(model),
        frames=str(frames),
        system=SYSTEM,
        question=QUESTION,
        completions=[[completion() for _ in range(GROUP_SIZE)] for _ in range(NUM_PROMPTS)],
        rewards=rng.random((NUM_PROMPTS, GROUP_SIZE)).tolist(),
        num_steps=num_steps,
        learning_rate=1e-6,
    ).write(path)
    return path


def measure(contender: Contender, job: Path, *, core: int) -> dict[str, Any]:
    """Run one process on one core and return its report. Exits with the process's error output if it fails."""
    command = ["taskset", "-c", str(core), contender.python, "-m", *contender.arguments, str(job)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def compare(reports: Reports, *, num_frames: int, command: str) -> list[Result]:
    """Return the table's rows for one number of frames."""

    def best(name: str, figure: str = "completions_per_core_second") -> float:
        return max(float(report[figure]) for report in reports[name])

    def row(name: str, value: float, unit: str, target: Target | None = None) -> Result:
        return Result(
            name=f"{num_frames} frames: {name}", value=value, unit=unit, target=target, command=command
        )

    trained = "training_completions_per_core_second"
    first = [reports[name][0] for name in (OURS, TUNED, PLAIN)]
    losses = [float(report["loss"]) for report in first]
    waits = [
        min(report["seconds"]["clock"] / report["seconds"]["core"] for report in of_one)
        for of_one in reports.values()
    ]
    return [
        *(row(name, best(name), "completions/s") for name in (OURS, TUNED, PLAIN)),
        row(f"ours over {TUNED}", best(OURS) / best(TUNED), "times", TARGETS.get(num_frames)),
        row("the same, without preparing inputs", best(OURS, trained) / best(TUNED, trained), "times"),
        row(f"ours over {PLAIN}", best(OURS) / best(PLAIN), "times"),
        row("largest difference of losses", max(losses) - min(losses), "", SAME_LOSS),
        row("tokens of a prompt, ours", first[0]["prompt_tokens"], ""),
        row("tokens of a prompt, TRL", first[1]["prompt_tokens"], ""),
        row("clock over core's time", max(waits), "times"),
    ]


def main() -> None:
    """Measure all contenders and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", type=Path, default=TRL_PYTHON, help="Python of TRL's environment")
    parser.add_argument(
        "--rounds", type=int, default=1, help="number of processes per contender, taking turns"
    )
    parser.add_argument("--steps", type=int, default=3, help="number of measured steps per process")
    parser.add_argument("--core", type=int, help="the core to run on; default: the last one")
    options = parser.parse_args()
    for name in ("rounds", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}={getattr(options, name)}: must be at least 1.")
    if not options.trl_python.exists():
        parser.error(
            f"--trl-python={options.trl_python} does not exist. Install it with `bash benchmarks/trl/install.sh`."
        )
    core = max(os.sched_getaffinity(0)) if options.core is None else options.core
    command = f"python -m benchmarks.against_trl --rounds {options.rounds} --steps {options.steps}"
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for num_frames in FRAMES:
            job = make_job(Path(folder), num_frames=num_frames, num_steps=options.steps)
            reports: dict[str, list[dict[str, Any]]] = {}
            for _ in range(options.rounds):
                for contender in contenders(options.trl_python):
                    reports.setdefault(contender.name, []).append(measure(contender, job, core=core))
            results += compare(reports, num_frames=num_frames, command=command)
    store("trl", results)
    show(results)


if __name__ == "__main__":
    main()
