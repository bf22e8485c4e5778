"""One training run, from a checked configuration to its report.

    check ─► prepare (videos, model, warm-up) ─► start the processes ─► Ray Train runs the learner ─► drain ─► report

The driver owns every process of the run: when it ends, for whatever reason, so do they.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.workers.prompt_worker import PromptSpec, PromptWorker
from cluster.checkpoints.repair_list import repair_checkpoint_list
from cluster.config.errors import NO_VALUE, ConfigError
from cluster.config.schema import TINY_PREFIX, Config
from cluster.runs.claim import claim_run_folder
from cluster.runs.folder import runs_folder
from cluster.runs.record import RunRecord, RunRecorder
from cluster.terminal import Say
from cluster.training.prepare import (
    RunData,
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
from cluster.training.progress_display import RunProgress
from cluster.training.ray_session import check_this_machine, ray_session
from cluster.training.report import write_report
from learner.modeling.policy_model import ModelSpec
from rollout.prompt import PromptError, PromptTooLong
from vocabulary.stages import LOOKING_AT_VIDEOS, WARMING_UP
from vocabulary.text import last_line

logger = logging.getLogger(__name__)

_POLL_S = 0.5  # how often the driver shows progress and looks for requests
# How long the driver waits for the last lines of the run's record, after a run that ended well and after any other.
_DRAIN_TIMEOUT_S = 40.0
_DRAIN_TIMEOUT_AFTER_FAILURE_S = 3.0
_MAX_SHOWN_SKIPPED = 10  # skipped videos on the terminal; the record has all of them


class RunFailed(RuntimeError):
    """The reason why the run ended before its last step."""


def train(
    config: Config,
    *,
    resume: bool,
    say: Say,
    keep_log_in: Callable[[Path], None] = lambda path: None,
) -> Path:
    """Check, prepare, run and report a training. Return the run's folder.

    Args:
        resume: continue the run of this name from its last checkpoint.
        keep_log_in: called with the path of the driver's log file once the run has its folder.

    Raises:
        ConfigError: the configuration or the machine does not allow the run; no worker was started yet.
        RunFailed: the run ended before its last step.
    """
    recorder = RunRecorder(runs_folder(config), say)
    with recorder.reporting_launch():
        check_reward(config)
        check_model(config)
        data = check_data(config, say)
        check_this_machine(config)
        with (
            claim_run_folder(config, resume=resume, on_renamed=recorder.rename_earlier_run) as folder,
            recorder.recording(config, folder) as record,
        ):
            keep_log_in(folder / "logs" / "driver.log")
            _train(config, folder, data, record, say)
            return folder


def _train(config: Config, folder: Path, data: RunData | None, record: RunRecord, say: Say) -> None:
    """Prepare the run in its claimed folder, start its processes, run them to the end, and report."""
    timer = StageTimer()
    with ray_session(config):
        if repair_checkpoint_list(folder):
            say(
                "Ray Train's list of checkpoints was truncated when the run stopped; rebuilt it from the checkpoints."
            )
        with record.stopping_at_once():
            data, spec = _prepare(config, folder, data, timer, record, say)
            say("Starting the rollout workers and the learner ...")
            run_log, controller, trainer = start_processes(config, folder, data, spec, record.address)
        progress = RunProgress(config.train.steps, config.data.tasks, say)
        record.was_stopped = _run(trainer, controller, run_log, progress, record)
        if record.was_stopped:
            say(
                "Stopped on request, with a checkpoint. Resume with: "
                f"videossr train {folder}/config.yaml --resume {folder}"
            )
        write_report(folder, config, timer.seconds, say)


def _prepare(
    config: Config, folder: Path, data: RunData | None, timer: "StageTimer", record: RunRecord, say: Say
) -> tuple[RunData, ModelSpec]:
    """Return the run's videos and its start model, both ready to use: drawn, created and warmed up where needed."""
    record.stage(LOOKING_AT_VIDEOS)
    with timer.timed("videos"):
        data = data or draw_missing_videos(config, folder / "videos")
    for entry in data.skipped[:_MAX_SHOWN_SKIPPED]:
        say(f"Skipped: {entry.path}: {entry.reason}")
    skipped = f", {len(data.skipped)} skipped" if data.skipped else ""
    say(f"Videos: {data.num_train} to train on, {data.num_held_out} to evaluate on{skipped}.")
    model_path = config.model.path
    if model_path.startswith(TINY_PREFIX):
        model_path = make_tiny_model(config, folder / "model", data)
    _try_prompts(config, prompt_spec(config, data, model_path))
    if config.warmup is not None:
        say("Warming up: a random model first learns the form of a completion.")
        record.stage(WARMING_UP)

    def report_warmup(text: str) -> None:
        say(text)
        record.event("warming_up", text.strip())

    with timer.timed("warm-up"):
        model_path = warm_start(config, model_path, data, folder / "model-warm", report_warmup)
    return data, model_spec(config, model_path)


def _try_prompts(config: Config, spec: PromptSpec) -> None:
    """Make one prompt of each task, so that prompts which are too long or cannot be made are refused now."""
    try:
        worker = PromptWorker(spec)
        for task in config.data.tasks:
            worker.make("train", 0, task)
    except PromptTooLong as error:
        raise ConfigError(
            "data.max_prompt_tokens",
            config.data.max_prompt_tokens,
            f"a prompt has {error.num_tokens} tokens",
            "Use fewer frames or pixels, or raise it",
        ) from None
    except PromptError as error:
        raise ConfigError("data", NO_VALUE, str(error)) from None
    except ValueError as error:
        raise ConfigError("model.path", config.model.path, str(error)) from None


def _run(trainer: Any, controller: Any, run_log: Any, progress: RunProgress, record: RunRecord) -> bool:
    """Run the learner to its end and drain the record. Return whether the run was stopped on request.

    Raises:
        RunFailed: the learner or the controller failed.
    """
    drain_timeout_s = _DRAIN_TIMEOUT_AFTER_FAILURE_S
    try:
        _fit(trainer, controller, run_log, progress, record)
        if (failure := _failure(controller)) is not None:
            raise RunFailed(last_line(failure))
        was_stopped = bool(ray.get(controller.stopped.remote()))
        logger.info("the learner has ended (stopped on request: %s)", was_stopped)
        drain_timeout_s = _DRAIN_TIMEOUT_S
        return was_stopped
    finally:
        _drain(controller, run_log, drain_timeout_s)


def _fit(trainer: Any, controller: Any, run_log: Any, progress: RunProgress, record: RunRecord) -> None:
    """Wait for the trainer, showing progress and answering requests.

    `trainer.fit()` blocks, so it runs on a thread of its own; the main thread stays free for Ctrl-C.
    """
    error_of_fit: BaseException | None = None

    def fit() -> None:
        nonlocal error_of_fit
        try:
            trainer.fit()
        except BaseException as error:  # the main thread raises it
            error_of_fit = error

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    with progress:
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                progress.show(*ray.get(run_log.since.remote(progress.cursor)))
                _answer_requests(record, controller)
            progress.show(*ray.get(run_log.since.remote(progress.cursor)))
        except RayActorError:
            raise RunFailed("the controller or the run log died.") from None
    if error_of_fit is not None:
        raise RunFailed(last_line(error_of_fit)) from error_of_fit


def _answer_requests(record: RunRecord, controller: Any) -> None:
    """Pass new requests of people to the controller, and store their outcomes."""
    for request in record.new_requests():
        outcome = ray.get(controller.request.remote(request.action))
        if outcome is None:  # engines or learner are still starting
            record.answer_before_first_step(request)
        else:
            record.answer(request, outcome)


def _failure(controller: Any) -> str | None:
    """Return why the controller failed, if it did."""
    try:
        failure: str | None = ray.get(controller.failure.remote())
    except RayActorError:
        return "the controller died."
    return failure


def _drain(controller: Any, run_log: Any, timeout_s: float) -> None:
    """Wait until the record is written to its end. Errors are ignored, so that they do not hide how the run ended."""
    with suppress(RayError):
        ray.get(controller.drain_record.remote(), timeout=timeout_s)
    with suppress(RayError):
        ray.get(run_log.close.remote(), timeout=timeout_s)


class StageTimer:
    """Seconds that each stage of the driver's own work took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure the block as stage `name`."""
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started
        logger.info("%s: %.1f s", name, self.seconds[name])
