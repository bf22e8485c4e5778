"""One training run, from a checked configuration to its report.

    prepare (model, videos, warm-up) ──► start the actors ──► Ray Train runs the learner ──► report

The driver owns every process of the run: when it ends, for whatever reason, so do they.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.workers.prompt_worker import PromptMaker, PromptSpec
from actors.workers.rollout_pool import last_line
from cluster.checkpoints.repair_list import mend_ray_record
from cluster.config.load import ConfigError, tasks_of
from cluster.config.schema import TINY_PREFIX, Config
from cluster.runs.folder import claimed, runs_folder
from cluster.runs.record import RunRecord, RunStore
from cluster.training.prepare import (
    Data,
    Say,
    check_data,
    check_model,
    check_reward,
    draw_missing_videos,
    make_tiny_model,
    model_spec,
    prompt_spec,
    warm_start,
)
from cluster.training.processes import start_processes
from cluster.training.progress_display import Progress
from cluster.training.ray_session import check_this_machine, ray_session
from cluster.training.report import write_report
from learner.modeling.policy_model import ModelSpec
from rollout.prompt import PromptError

_SETTLE_S, _SETTLE_SOON_S = 40.0, 3.0  # for the record's last lines; where the run was broken off
_SHOWN_REJECTIONS = 10  # of videos on the terminal; the record holds all


def train(config: Config, *, resume: bool, say: Say) -> Path:
    """Train, evaluate and report; returns the run's folder.

    Raises:
        ConfigError: something that the user can mend, found before anything was started.
        RunFailed: the run ended before its last step.
    """
    store = RunStore(runs_folder(config), say)
    with store.told():
        check_reward(config)
        check_model(config)
        data = check_data(config, say)
        check_this_machine(config)
        with (
            claimed(config, resume=resume, on_kept=store.kept) as folder,
            store.recorded(config, folder) as record,
        ):
            _train(config, folder, data, record, say)
            return folder


def _train(config: Config, folder: Path, data: Data | None, record: RunRecord, say: Say) -> None:
    """In the run's folder, which is the caller's."""
    stages = Stages()
    with ray_session(config):
        if mend_ray_record(folder):
            say("The list of checkpoints was cut off when the run was stopped; it is made anew from them.")
        with record.stops_at_once():
            data, spec = _prepared(config, folder, data, stages, record, say)
            say("Starting the rollout engine(s) and the learner ...")
            run_log, experience, trainer = start_processes(config, folder, data, spec, record.address)
        try:
            _fit(
                trainer,
                run_log,
                Progress(config.train.steps, tasks_of(config), say),
                partial(_answer_requests, record, experience),
            )
            if (failure := _failure(experience)) is not None:
                raise RunFailed(last_line(failure))
            record.was_stopped = ray.get(experience.stopped.remote())
            _settle(experience, run_log, _SETTLE_S)
        except BaseException:
            _settle(experience, run_log, _SETTLE_SOON_S)
            raise
        if record.was_stopped:
            go_on = f"videossr train {folder}/config.yaml --resume {folder}"
            say(f"Stopped, as asked, with a checkpoint. Go on with: {go_on}")
        write_report(folder, config, stages.seconds, say)


def _prepared(
    config: Config, folder: Path, data: Data | None, stages: "Stages", record: RunRecord, say: Say
) -> tuple[Data, ModelSpec]:
    """Videos and model, as the processes are given them."""
    record.event("stage", "looking at the videos")
    with stages.timed("videos"):
        data = data or draw_missing_videos(config, folder / "videos")
    for entry in data.rejected[:_SHOWN_REJECTIONS]:
        say(f"Set aside: {entry.path}: {entry.reason}")
    say(
        f"Videos: {data.num_train} to train on, {data.num_held_out} to evaluate on"
        + (f", {len(data.rejected)} set aside." if data.rejected else ".")
    )
    model_path = config.model.path
    if model_path.startswith(TINY_PREFIX):
        model_path = make_tiny_model(config, folder / "model", data)
    _try_prompts(config, prompt_spec(config, data, model_path))
    if config.warmup is not None:
        say("Warming up: a random model first learns what an answer looks like.")
        record.event("stage", "warming up")

    def say_and_record(text: str) -> None:
        say(text)
        record.event("warming_up", text.strip())

    with stages.timed("warm-up"):
        model_path = warm_start(config, model_path, data, folder / "model-warm", say_and_record)
    return data, model_spec(config, model_path)


class RunFailed(RuntimeError):
    """The run ended before its last step; says why."""


class Stages:
    """Seconds per stage of the driver's work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def _try_prompts(config: Config, spec: PromptSpec) -> None:
    """Make one prompt of each task: what is too long, or cannot be drawn, shows now."""
    try:
        maker = PromptMaker(spec)
        for task in tasks_of(config):
            maker.make("train", 0, task)
    except PromptError as error:
        raise ConfigError(f"data: {error}") from None
    except ValueError as error:
        raise ConfigError(f"model.path={config.model.path!r}: {error}") from None


def _failure(experience: Any) -> str | None:
    try:
        failure: str | None = ray.get(experience.failure.remote())
    except RayActorError:
        return "the process that directs the run (ExperienceActor) died."
    return failure


def _answer_requests(record: RunRecord, experience: Any) -> None:
    """Hand on what people have asked of the run."""
    for request in record.requests():
        outcome = ray.get(experience.ask.remote(request.action))
        if outcome is None:  # engines or learner are starting
            record.stop_at_once(request)
        else:
            record.answer(request, outcome)


def _settle(experience: Any, run_log: Any, timeout_s: float) -> None:
    """Have the record written to its end; one that cannot be does not hide how the run ended."""
    with suppress(RayError):
        ray.get(experience.settled.remote(), timeout=timeout_s)
    with suppress(RayError):
        ray.get(run_log.close.remote(), timeout=timeout_s)


def _fit(trainer: Any, run_log: Any, progress: Progress, answer_requests: Callable[[], None]) -> None:
    """Run the trainer on a thread, so that the main one can show progress, be asked and be interrupted."""
    outcome: list[BaseException | None] = []

    def fit() -> None:
        try:
            trainer.fit()
            outcome.append(None)
        except BaseException as error:  # handed to the main thread, which raises it
            outcome.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    with progress:
        try:
            while thread.is_alive():
                thread.join(0.5)
                progress.show(ray.get(run_log.since.remote(progress.cursor)))
                answer_requests()
            progress.show(ray.get(run_log.since.remote(progress.cursor)))
        except RayActorError:
            raise RunFailed(
                "the process that directs the run, or the one that writes its record, died."
            ) from None
    if outcome[0] is not None:
        raise RunFailed(last_line(outcome[0])) from outcome[0]
