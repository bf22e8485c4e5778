"""Fill a run store with made-up runs, at least one in each state, through store.writing.writer like real runs.

Their names begin with "example", so that the screenshots' numbers are not mistaken for results.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import update

from evaluation.viubench import COLUMNS, PaperColumn, random_guess
from pretext.tasks.jigsaw import JigsawParams
from store.database import Database
from store.records import Action, EvaluationRecord, WorkerStatus
from store.requests import add_request, finish_request
from store.runs import register_run
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from tests.browser.groups import QUESTIONS, group
from vocabulary.run_states import StoredState
from vocabulary.stages import BENCH

TASKS = tuple(QUESTIONS)
UNTRAINED = 'example-Qwen3-VL-8B, "base"'  # an evaluated model that no run here trained
_HOUR = 3600.0


@dataclass(frozen=True)
class Plan:
    """A run to be made.

    Attributes:
        done: number of steps done.
        step_s: seconds of a step.
        idle_s: seconds since the last step ended.
        silent_s: seconds since the last sign of life.
        rate: number of steps in which most is learnt.
        rollouts_every: steps from one recorded group to the next; 0: none are recorded.
    """

    name: str
    state: StoredState
    steps: int
    done: int
    step_s: float = 2.1
    idle_s: float = 0.0
    silent_s: float = 0.0
    tasks: tuple[str, ...] = TASKS
    failure: str | None = None
    rate: float = 60.0
    rollouts_every: int = 0
    job_id: str | None = None
    config: tuple[tuple[str, Any], ...] = ()


RUNS = (
    Plan("example-demo", "running", 150, 84, rollouts_every=12),
    Plan("example-qwen3-vl-8b-shared", "running", 3000, 1720, step_s=41.0, rate=500, config=(("max_staleness", 1),)),
    Plan("example-demo-kl", "running", 150, 61, idle_s=260, silent_s=240, config=(("kl_coef", 0.02),)),
    Plan(
        "example-qwen3-vl-8b-lr3e-5", "failed", 3000, 402, step_s=40.0, idle_s=7 * _HOUR, rate=500,
        config=(("learning_rate", 3e-5),),
        failure="The learner's logprobs and the engine's differ by 0.41 nats (learner.max_logprob_gap=0.05): the "
        "sampled distribution is not the trained one. See parity-failure.json in the run's folder.",
    ),
    Plan("example-demo-counting", "stopped", 150, 97, idle_s=2 * _HOUR, tasks=("counting",)),
    Plan("example-demo-seed-1", "done", 150, 150, idle_s=27 * _HOUR, rollouts_every=50, config=(("seed", 1),)),
    Plan("example-demo-seed-2", "queued", 150, 0, config=(("seed", 2),), job_id="raysubmit_h6Lq2wR8sT4vYc1K"),
)  # fmt: skip


def fill(database: Database, runs_dir: Path) -> dict[str, tuple[int, RunWriter]]:
    """Make the runs and return number and writer by name. Writers of running runs stay open and send signs of life."""
    made = {plan.name: _run(database, runs_dir, plan) for plan in reversed(RUNS)}
    _benchmarks(database, runs_dir, {name: writer for name, (_, writer) in made.items()})
    _requests(database, {name: run_id for name, (run_id, _) in made.items()})
    for plan in RUNS:
        run_id, writer = made[plan.name]
        if plan.state != "running" or plan.silent_s:
            writer.close()
        _set_times(database, run_id, plan)
    return made


def step_metrics(plan: Plan, step: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the metrics of one step of such a run."""
    skill = _skill(plan, step)
    noise = rng.normal(0, 1, 32)
    metrics = {}
    for place, task in enumerate(plan.tasks):
        metrics[f"reward/{task}"] = _share(0.35 + 0.5 * skill - 0.1 * place + 0.05 * noise[place])
        metrics[f"valid/{task}"] = _share(0.8 + 0.2 * skill + 0.02 * noise[3 + place])
        metrics[f"spread/{task}"] = _share(0.75 - 0.35 * skill + 0.05 * noise[6 + place])
    for area in ("reward", "valid"):
        metrics[f"{area}/mean"] = float(np.mean([metrics[f"{area}/{task}"] for task in plan.tasks]))
    metrics |= {f"seconds/{part}": value for part, value in _seconds(plan, step, noise).items()}
    gap = 0.002 * float(np.exp(0.4 * noise[20])) * (30 if rng.uniform() > 0.995 else 1)
    if dict(plan.config).get("kl_coef"):
        metrics["policy/kl"] = 0.01 + 0.08 * skill + 0.004 * abs(noise[23])
    return metrics | {
        "policy/loss": 0.02 * noise[21],
        "policy/entropy": 0.9 * math.exp(-step / (2 * plan.rate)) + 0.25 + 0.02 * noise[22],
        "policy/clip_low_share": abs(0.01 * noise[24]),
        "policy/clip_high_share": abs(0.006 * noise[31]),
        "policy/grad_norm": 0.6 + 0.2 * abs(noise[25]),
        "policy/learning_rate": 3e-4 * min(1.0, (step + 1) / 10),
        "policy/logprob_gap_mean": gap / 4,
        "policy/logprob_gap_max": gap,
        "policy/logprob_gap_k3": gap * gap,
        "staleness/mean": float(plan.step_s > 10),
        "groups/without_spread": _share(0.1 + 0.4 * skill + 0.03 * noise[26]),
        "completion/tokens": 9 + 2 * skill + 0.2 * noise[27],
        "completion/cut": _share(0.05 * (1 - skill) + 0.005 * noise[28]),
        "prompt/tokens": 90 + noise[29],
        "tokens_per_second": 38_000 / plan.step_s * (1 + 0.05 * noise[30]),
        "step/tokens": 38_000.0,
    }


def _seconds(plan: Plan, step: int, noise: np.ndarray) -> dict[str, float]:
    """Return the seconds of a step's parts, like those that the controller records.

    With max_staleness 1 the engines generate while the learner trains.
    """
    ahead = dict(plan.config).get("max_staleness", 0) == 1
    shares = {
        "push": 0.03,
        "prompts": 0.05,
        "rollout": 0.62,
        "reward": 0.02,
        "update": 0.5 if ahead else 0.24,
    }
    seconds = {
        part: plan.step_s * share * float(np.exp(0.08 * noise[10 + place]))
        for place, (part, share) in enumerate(shares.items())
    }
    generating = seconds["prompts"] + seconds["rollout"] + seconds["reward"]
    seconds["waited_for_groups"] = max(0.0, generating - seconds["update"]) if ahead else generating
    seconds["waited_for_update"] = max(0.0, seconds["update"] - generating) if ahead else seconds["update"]
    if step % 20 == 0 and step:
        seconds["save"] = 0.15 * plan.step_s
    mine = ("push", "waited_for_groups", "update", "save")
    return seconds | {"step": 1.02 * sum(seconds.get(part, 0.0) for part in mine)}


def _run(database: Database, runs_dir: Path, plan: Plan) -> tuple[int, RunWriter]:
    folder = runs_dir / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    run_id = register_run(
        database, name=plan.name, folder=str(folder), steps=plan.steps, config=_config(plan),
        environment=_ENVIRONMENT, state="queued", job_id=plan.job_id,
    )  # fmt: skip
    now = time.time()
    writer = RunWriter(database, run_id, clock=lambda: time.time() - plan.silent_s)
    if plan.state == "queued":
        return run_id, writer
    writer.state("running")
    end = now - max(plan.idle_s, plan.silent_s)
    began = end - plan.done * plan.step_s
    rng = np.random.default_rng(len(plan.name))
    for step in range(plan.done):
        writer.step(step, began + (step + 1) * plan.step_s, step_metrics(plan, step, rng))
        if plan.rollouts_every and (step % plan.rollouts_every == 0 or step == plan.done - 1):
            _groups(writer, folder, plan, step)
    _events(writer, plan, began)
    workers(writer, plan.done, end)
    _evaluations(writer, plan, folder)
    if plan.state != "running":
        writer.state(plan.state, plan.failure)
    return run_id, writer


def _groups(writer: RunWriter, folder: Path, plan: Plan, step: int) -> None:
    """Record groups of prompts, each of which is generated from once."""
    skill, behind = 0.2 + 0.6 * _skill(plan, step), dict(plan.config).get("max_staleness", 0)
    for task in plan.tasks:
        for prompt in range(3 * step, 3 * step + 3):
            writer.group(group(folder, step=step, task=task, prompt=prompt, skill=skill, behind=behind))


def _events(writer: RunWriter, plan: Plan, began: float) -> None:
    writer.event("stage", "looking at 320 videos", began - 95)
    writer.event("video_skipped", "videos/clip-0188.mp4: the file ends in the middle of a frame", began - 80)
    writer.event("stage", "evaluating before training", began - 31)
    writer.event("held_out_score", "held-out score after step 0: 0.412", began - 4)
    writer.event("stage", "training", began)
    if plan.done > 60:
        when = began + 55 * plan.step_s
        writer.event(
            "rollout_died",
            "rollout worker 1 on node gpu-b died (exit code -9); its 6 prompts go to other workers",
            when,
        )
        writer.event(
            "rollout_restarted",
            "rollout worker 1 is ready again with policy version 55, after 14.8 s",
            when + 15,
        )
        writer.event("checkpoint", "checkpoint of step 60 in 0.3 s", began + 60 * plan.step_s)
    if plan.failure:
        writer.event("failed", plan.failure, began + plan.done * plan.step_s)


def workers(writer: RunWriter, version: int, at: float) -> None:
    """Report every worker's status at time `at`, when policy `version` is the newest."""
    roles = {"prompts": 2, "rollout": 3, "rewards": 1, "learner": 2}
    for role, number in roles.items():
        for index in range(number):
            on_gpu = role in ("rollout", "learner")
            writer.worker(
                WorkerStatus(
                    role=role, index=index, node=f"gpu-{'ab'[index % 2]}" if on_gpu else "cpu-a",
                    gpu=f"H200 #{index + (4 if role == 'learner' else 0)}" if on_gpu else None,
                    pid=4100 + 10 * list(roles).index(role) + index,
                    policy_version=version if on_gpu else None,
                    queue=[3, 6, 0][index] if role != "learner" else None,
                    restarts=int(role == "rollout" and index == 1), updated_at=at,
                )
            )  # fmt: skip


def _evaluations(writer: RunWriter, plan: Plan, folder: Path) -> None:
    stages = [("before", 0), *[("during", step) for step in range(50, plan.done, 50)]]
    stages += [("after", plan.done)] if plan.state == "done" else []
    for stage, step in stages:
        for place, task in enumerate(plan.tasks):
            mean = 0.4 + 0.45 * _skill(plan, step) - 0.08 * place
            scores = {
                "greedy_mean": mean + 0.03, "sampled_mean": mean, "greedy_valid": 0.99,
                "sampled_valid": 0.85 + 0.14 * _skill(plan, step), "samples": 200,
            }  # fmt: skip
            writer.evaluation(EvaluationRecord(stage=stage, step=step, task=task, scores=scores))
            for prompt in range(2 if plan.rollouts_every else 0):
                skill = 0.2 + 0.6 * _skill(plan, step)
                writer.group(group(folder, step=step, task=task, prompt=prompt, skill=skill, held_out=True))


def _benchmarks(database: Database, runs_dir: Path, writers: Mapping[str, RunWriter]) -> None:
    """Write benchmark results like `videossr eval`. Only the published scores and those of guessing are real."""
    now = time.time()
    _bench(writers["example-demo-seed-1"], 0.35, now, step=1)
    _bench(writers["example-qwen3-vl-8b-shared"], 0.72, now, step=1)
    asked = register_run(
        database, name=UNTRAINED, folder=str(runs_dir), steps=0, config={}, environment={}, state="done"
    )
    writer = RunWriter(database, asked)
    _bench(writer, 0.6, 0.0, step=-1)
    writer.close()


def _bench(writer: RunWriter, gain: float, time_s: float, step: int) -> None:
    for column in COLUMNS:
        scores = {
            "task": column.task, "label": column.label, "n": 300, "valid": 0.98, "random": _guess(column),
            "score": round(min(100.0, gain * column.published), 1), "published": column.published,
            "evaluated_at": time_s,
        }  # fmt: skip
        writer.evaluation(
            EvaluationRecord(stage=BENCH, step=step, task=column.name, source="viubench", scores=scores)
        )


def _requests(database: Database, numbers: Mapping[str, int]) -> None:
    """Write requests that people made earlier."""
    asked: list[tuple[str | None, Action, str, str]] = [
        ("example-qwen3-vl-8b-lr3e-5", "resume", "Mia (operator) at 10.0.3.17",
         "refused: parity-failure.json is there. Look at it first."),
        (None, "start", "operator at 127.0.0.1", "Run example-demo-seed-2 is queued as raysubmit_h6Lq2wR8sT4vYc1K."),
        ("example-demo", "checkpoint", "Jun (operator) at 10.0.3.22", "a checkpoint was written after step 60"),
    ]  # fmt: skip
    for name, action, by, outcome in asked:
        finish_request(database, add_request(database, numbers[name] if name else None, action, by), outcome)


def _guess(column: PaperColumn) -> float | None:
    """Return the score of guessing; None for grounding, where it depends on the samples."""
    if isinstance(column.params, JigsawParams):
        return 100 / math.factorial(column.params.num_clips)
    return random_guess(column.task, [], column.params) if column.task == "counting" else None


def _set_times(database: Database, run_id: int, plan: Plan) -> None:
    """Move the runs into the past, because the store records the time of each call."""
    now = time.time()
    ended = plan.state in ("done", "failed", "stopped")
    created = now - max(plan.idle_s, plan.silent_s) - plan.done * plan.step_s - 120
    values = {"created_at": created, "started_at": created + 10 if plan.done else None}
    if ended:
        values |= {"ended_at": now - plan.idle_s, "heartbeat_at": now - plan.idle_s}
    if plan.state == "queued":
        values["heartbeat_at"] = now + _HOUR  # keeps it alive while the tests run
    with database.write() as connection:
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(**values))


def _skill(plan: Plan, step: int) -> float:
    return 1 - math.exp(-step / plan.rate)


def _share(value: float) -> float:
    return float(min(1.0, max(0.0, value)))


def _config(plan: Plan) -> dict[str, Any]:
    chosen = dict(plan.config)
    large = plan.step_s > 10
    return {
        "name": plan.name,
        "seed": chosen.get("seed", 0),
        "model": {"path": "Qwen/Qwen3-VL-8B-Instruct" if large else "tiny:qwen3_vl"},
        "data": {
            "videos": "/data/videos" if large else "drawn", "mix": dict.fromkeys(plan.tasks, 1),
            "frames": {"num_frames": 48 if large else 12, "min_pixels": 4096, "max_pixels": 65536},
            "max_prompt_tokens": 8192 if large else 512,
        },
        "rollout": {"max_tokens": 12, "dtype": "bfloat16" if large else "float32"},
        "grpo": {"group_size": 8, "clip_high": 0.28, "kl_coef": chosen.get("kl_coef", 0.0)},
        "learner": {"zero_stage": 2, "learning_rate": chosen.get("learning_rate", 3e-4), "adam_betas": [0.9, 0.95]},
        "train": {"steps": plan.steps, "prompts_per_step": 48, "max_staleness": chosen.get("max_staleness", 0),
                  "checkpoint_every": 20},
    }  # fmt: skip


_ENVIRONMENT: dict[str, Any] = {
    "git": {"commit": "8b02b62f4a7d", "dirty": False},
    "host": "gpu-a",
    "packages": {
        "ray": "2.60.0",
        "vllm": "0.32.0",
        "torch": "2.13.0",
        "deepspeed": "0.19.2",
        "transformers": "5.19.0",
    },
}
