"""One training run, from a checked configuration to its report.

    check ─► prepare (videos, model, warm-up) ─► start the processes ─► Ray Train runs the learner ─► drain ─► report

The driver owns every process of the run: when it ends, for whatever reason, so do they.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.controller.step_metrics import Stopwatch
from cluster.checkpoints.repair_list import repair_checkpoint_list
from cluster.config.schema import Config
from cluster.runs.claim import claim_run_folder
from cluster.runs.folder import runs_folder
from cluster.runs.stored_run import RunRegistration, StoredRun
from cluster.terminal import Say
from cluster.training.prepare import check_data, check_model, check_reward, prepare
from cluster.training.processes import Processes, start_processes
from cluster.training.progress_display import RunProgress
from cluster.training.ray_session import check_this_machine, ray_session
from cluster.training.report import write_report
from vocabulary.text import last_line

logger = logging.getLogger(__name__)

_POLL_S = 0.5  # how often the driver shows progress and looks for requests
# How long the driver waits until the run's record is complete, after success and after a failure.
_DRAIN_TIMEOUT_S = 40.0
_DRAIN_TIMEOUT_AFTER_FAILURE_S = 3.0


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
    registration = RunRegistration(runs_folder(config), say)
    with registration.reporting_launch():
        check_reward(config)
        check_model(config)
        videos = check_data(config, say)
        check_this_machine(config)
        with (
            claim_run_folder(config, resume=resume, on_renamed=registration.rename_earlier_run) as folder,
            registration.recording(config, folder) as stored_run,
        ):
            keep_log_in(folder / "logs" / "driver.log")
            stopwatch = Stopwatch()
            with ray_session(config):
                _repair_checkpoint_list(folder, say)
                with stored_run.stopping_at_once():
                    data, spec = prepare(config, folder, videos, stored_run, stopwatch, say)
                    say("Starting the rollout workers and the learner ...")
                    processes = start_processes(config, folder, data, spec, stored_run.address)
                with _draining(processes):
                    _run(processes, RunProgress(config.train.steps, config.data.tasks, say), stored_run)
                if stored_run.was_stopped:
                    say(
                        "Stopped on request, with a checkpoint. Resume with: "
                        f"videossr train {folder}/config.yaml --resume {folder}"
                    )
                write_report(folder, config, stopwatch.seconds, say)
            return folder


def _repair_checkpoint_list(folder: Path, say: Say) -> None:
    if repair_checkpoint_list(folder):
        say(
            "Ray Train's list of checkpoints was truncated when the run stopped; rebuilt it from the checkpoints."
        )


@contextmanager
def _draining(processes: Processes) -> Iterator[None]:
    """Wait after the block until the run's record is written to its end, for a shorter time if the block failed.

    Errors of Ray are ignored, so that they do not hide how the run ended.
    """
    timeout_s = _DRAIN_TIMEOUT_AFTER_FAILURE_S
    try:
        yield
        timeout_s = _DRAIN_TIMEOUT_S
    finally:
        with suppress(RayError):
            ray.get(processes.controller.drain_record.remote(), timeout=timeout_s)
        with suppress(RayError):
            ray.get(processes.run_log.close.remote(), timeout=timeout_s)


def _run(processes: Processes, progress: RunProgress, stored_run: StoredRun) -> None:
    """Run the learner to its end, and note whether it was stopped on request.

    Raises:
        RunFailed: the learner or the controller failed.
    """
    _fit(processes, progress, stored_run)
    if (failure := _failure(processes.controller)) is not None:
        raise RunFailed(last_line(failure))
    stored_run.was_stopped = bool(ray.get(processes.controller.stopped.remote()))
    logger.info("the learner has ended (stopped on request: %s)", stored_run.was_stopped)


def _fit(processes: Processes, progress: RunProgress, stored_run: StoredRun) -> None:
    """Wait for the learner, while showing progress and answering requests.

    `trainer.fit()` blocks, so it runs on a thread of its own; the main thread stays free for Ctrl-C.
    """
    error_of_fit: BaseException | None = None

    def fit() -> None:
        nonlocal error_of_fit
        try:
            processes.trainer.fit()
        except BaseException as error:  # the main thread raises it
            error_of_fit = error

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    with progress:
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                progress.show(*ray.get(processes.run_log.since.remote(progress.cursor)))
                _answer_requests(stored_run, processes.controller)
            progress.show(*ray.get(processes.run_log.since.remote(progress.cursor)))
        except RayActorError:
            raise RunFailed("the controller or the run log died.") from None
    if error_of_fit is not None:
        raise RunFailed(last_line(error_of_fit)) from error_of_fit


def _answer_requests(stored_run: StoredRun, controller: Any) -> None:
    """Pass new requests of people to the controller, and store their outcomes."""
    for request in stored_run.new_requests():
        outcome = ray.get(controller.request.remote(request.action))
        if outcome is None:  # engines or learner are still starting
            stored_run.answer_before_first_step(request)
        else:
            stored_run.answer(request, outcome)


def _failure(controller: Any) -> str | None:
    """Return why the controller failed, or None if it did not."""
    try:
        failure: str | None = ray.get(controller.failure.remote())
    except RayActorError:
        return "the controller died."
    return failure
