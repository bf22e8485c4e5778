"""One training run, from a checked configuration to its report.

    prepare (model, videos, warm-up) ──► start the actors ──► Ray Train runs the learner ──► report

The driver owns every process of the run: when it ends, for whatever reason, so do they.
"""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.batches import BatchPlan
from actors.experience import ExperiencePlan
from actors.experience_actor import ExperienceActor
from actors.held_out import EvaluationPlan
from actors.learner_port import LearnerPort
from actors.prompt_maker import PromptMaker, PromptMakerActor, PromptSpec
from actors.reward_worker import RewardWorker
from actors.rollout_pool import last_line
from actors.rollout_worker import RolloutWorker
from actors.run_log import RunLog, RunLogPlan
from cluster.config import TINY_PREFIX, Config
from cluster.load import ConfigError, tasks_of
from cluster.plan import Role, roles
from cluster.prepare import (
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
from cluster.progress import Progress
from cluster.ray_record import mend_ray_record
from cluster.ray_session import check_this_machine, ray_session
from cluster.record import RunRecord, RunStore
from cluster.report import write_report
from cluster.run_folder import claimed, runs_folder
from learner.loop import LoopConfig, train_loop
from learner.model import ModelSpec
from rollout.engine import EngineOptions, Sampling
from rollout.prompt import PromptError

_SETTLE_S, _SETTLE_SOON_S = 40.0, 3.0  # for the record's last lines; where the run was broken off
_SHOWN_REJECTIONS = 10  # of videos on the terminal; the record holds all


def train(config: Config, *, resume: bool, say: Say) -> Path:
    """Train, evaluate and report; returns the run's folder.

    Raises:
        ConfigError: something that the user can mend, found before anything was started.
        RunFailed: the run ended before its last step.
    """
    check_reward(config)
    check_model(config)
    data = check_data(config, say)
    check_this_machine(config)
    store = RunStore(runs_folder(config), say)
    with (
        claimed(config, resume=resume, on_kept=store.kept) as folder,
        store.recorded(config, folder) as record,
        ray_session(config),
    ):
        if mend_ray_record(folder):
            say("The list of checkpoints was cut off when the run was stopped; it is made anew from them.")
        stages = Stages()
        record.stage("looking at the videos")
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
            record.stage("warming up")
        with stages.timed("warm-up"):
            model_path = warm_start(config, model_path, data, folder / "model-warm", say)
        spec = model_spec(config, model_path)
        _run_actors(config, folder, data, spec, stages, record, say)
        return folder


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


def _run_actors(
    config: Config, folder: Path, data: Data, spec: ModelSpec, stages: Stages, record: RunRecord, say: Say
) -> None:
    say("Starting the rollout engine(s) and the learner ...")
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    run_log = _actor(RunLog, num_cpus=0, scheduling_strategy=here).remote(
        RunLogPlan(
            folder=str(folder),
            grpo=config.grpo,
            name=config.name,
            store=record.address,
            trackers=config.trackers,
            config=config.model_dump(mode="json"),
        )
    )
    for entry in data.rejected:
        run_log.event.remote("video_set_aside", f"{entry.path}: {entry.reason}")
    run_log.event.remote("stage", "starting")
    members = {role.name: role for role in roles(config)}
    workers = _rollout_workers(config, members["rollout"], spec.path, data.max_clips)
    spec_file = folder / "prompts.pickle"
    spec_file.write_bytes(pickle.dumps(prompt_spec(config, data, spec.path)))
    makers = [
        _actor(PromptMakerActor, members["prompt"], max_restarts=-1, max_task_retries=-1).remote(
            str(spec_file)
        )
        for _ in range(members["prompt"].count)
    ]
    scorers = [
        _actor(RewardWorker, members["reward"], max_restarts=-1, max_task_retries=-1).remote(
            config.reward.function
        )
        for _ in range(members["reward"].count)
    ]
    experience = _actor(ExperienceActor, num_cpus=0, scheduling_strategy=here).remote(
        _experience_plan(config),
        makers=makers,
        workers=workers,
        scorers=scorers,
        run_log=run_log,
        start_timeout_s=config.rollout.start_timeout_s,
        generate_timeout_s=config.rollout.timeout_s,
    )
    trainer = _trainer(config, folder, spec, experience)
    progress = Progress(config.train.steps, tasks_of(config), say)
    answer = partial(_answer_requests, record, experience)
    try:
        _fit(trainer, run_log, progress, answer)
        failure = _failure(experience)
        if failure is not None:
            raise RunFailed(last_line(failure))
        record.was_stopped = ray.get(experience.stopped.remote())
        _settle(experience, run_log, _SETTLE_S)
    except BaseException:
        _settle(experience, run_log, _SETTLE_SOON_S)
        raise
    if record.was_stopped:
        say(
            f"Stopped, as asked, with a checkpoint. Go on with: videossr train {folder}/config.yaml --resume {folder}"
        )
    write_report(folder, config, stages.seconds, say)


def _failure(experience: Any) -> str | None:
    try:
        failure: str | None = ray.get(experience.failure.remote())
    except RayActorError:
        return "the process that directs the run (ExperienceActor) died."
    return failure


def _answer_requests(record: RunRecord, experience: Any) -> None:
    """Hand on what people have asked of the run."""
    for request in record.requests():
        if request.action in ("stop", "checkpoint"):
            outcome = ray.get(experience.ask.remote(request.action))
        else:
            outcome = "The run is going on: there is nothing to do."
        record.answer(request, outcome)


def _settle(experience: Any, run_log: Any, timeout_s: float) -> None:
    """Have the record written to its end; one that cannot be does not hide how the run ended."""
    with suppress(RayError):
        ray.get(experience.settled.remote(), timeout=timeout_s)
    with suppress(RayError):
        ray.get(run_log.close.remote(), timeout=timeout_s)


def _experience_plan(config: Config) -> ExperiencePlan:
    sampling = Sampling(
        config.grpo.group_size, config.rollout.temperature, config.rollout.max_tokens, config.seed
    )
    return ExperiencePlan(
        steps=config.train.steps,
        max_staleness=config.train.max_staleness,
        checkpoint_every=config.train.checkpoint_every,
        shared_gpus=config.cluster.placement == "shared",
        recorded_groups=config.train.recorded_groups,
        batch=BatchPlan(
            prompts=config.train.prompts_per_step,
            sampling=sampling,
            max_refills=config.grpo.max_refills,
            reward_tolerance=config.grpo.reward_tolerance,
        ),
        evaluation=EvaluationPlan(
            tasks=tasks_of(config),
            samples_per_task=config.evaluation.samples_per_task,
            completions=config.evaluation.sampled_completions,
            every=config.evaluation.every,
            recorded=config.train.recorded_groups,
            sampling=sampling,
        ),
    )


def _actor(actor_class: type, role: Role | None = None, **options: Any) -> Any:
    if role is not None:
        options |= {"num_cpus": role.num_cpus, "num_gpus": role.num_gpus}
        options |= {"label_selector": dict(role.node_labels) or None}
    return ray.remote(actor_class).options(**options)


def _weight_transfer(config: Config) -> str:
    if config.cluster.device == "cpu":
        return "gloo"
    return "ipc" if config.cluster.placement == "shared" else "nccl"


def _rollout_workers(config: Config, role: Role, model_path: str, max_clips: int) -> list[Any]:
    rollout = config.rollout
    options = EngineOptions(
        model=model_path,
        device=config.cluster.device,
        dtype=rollout.dtype,
        seed=config.seed,
        max_model_len=config.data.max_prompt_tokens + rollout.max_tokens,
        max_num_seqs=rollout.max_num_seqs,
        max_videos=max_clips,
        tensor_parallel_size=rollout.tensor_parallel_size,
        gpu_memory_utilization=rollout.gpu_memory_utilization,
        kv_cache_gib=rollout.kv_cache_gib,
        weight_transfer=_weight_transfer(config),
        sleep=config.cluster.placement == "shared",
        vllm_args=rollout.vllm_args,
    )
    return [
        _actor(RolloutWorker, role, max_restarts=rollout.max_restarts).remote(options)
        for _ in range(role.count)
    ]


def _scaling(role: Role) -> Any:
    """As Ray Train asks for the places of a group."""
    from ray.train import ScalingConfig

    return ScalingConfig(
        num_workers=role.count,
        use_gpu=role.num_gpus > 0,
        resources_per_worker={"CPU": role.num_cpus} | ({"GPU": role.num_gpus} if role.num_gpus else {}),
        label_selector=dict(role.node_labels) or None,
    )


def _trainer(config: Config, folder: Path, spec: ModelSpec, experience: Any) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    role = next(role for role in roles(config) if role.name == "learner")
    timeout_s = config.cluster.push_timeout_s

    def connect(session: str) -> LearnerPort:
        return LearnerPort(experience, session, timeout_s)

    loop = LoopConfig(
        spec=spec,
        learner=config.learner,
        grpo=config.grpo,
        device=config.cluster.device,
        weight_transfer=_weight_transfer(config),
        engines_sleep=config.cluster.placement == "shared",
        push_timeout_s=timeout_s,
        steps=config.train.steps,
        max_tokens=config.rollout.max_tokens,
        seed=config.seed,
        connect=connect,
    )
    return TorchTrainer(
        lambda: train_loop(loop),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if role.num_gpus else "gloo"),
        scaling_config=_scaling(role),
        # The same name and storage path as before: Ray Train goes on from the last checkpoint there.
        run_config=RunConfig(
            name="learner",
            storage_path=str(folder / "checkpoints"),
            failure_config=FailureConfig(max_failures=config.learner.max_restarts),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.train.keep_checkpoints,
                checkpoint_score_attribute="score",
                checkpoint_score_order="max",
            ),
        ),
    )


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
