"""One training run, from a checked configuration to its report.

    prepare (model, videos, warm-up) ──► start the actors ──► Ray Train runs the learner ──► report

The driver owns every process of the run: when it ends, for whatever reason, so do they.
"""

import asyncio
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.experience import Experience, ExperiencePlan
from actors.learner_port import LearnerPort
from actors.messages import EvaluationAnswers, Group, Prompt, Split
from actors.prompt_maker import PromptMaker, PromptSpec
from actors.reward_worker import RewardWorker
from actors.rollout_pool import RolloutPool
from actors.rollout_worker import RolloutWorker
from actors.run_log import RunLog
from cluster.config import TINY_PREFIX, Config
from cluster.load import ConfigError, tasks_of
from cluster.plan import Role, roles
from cluster.prepare import (
    Say,
    Videos,
    check_model,
    check_videos,
    draw_missing_videos,
    make_tiny_model,
    model_spec,
    prompt_spec,
    warm_start,
)
from cluster.progress import Progress
from cluster.ray_session import ray_session
from cluster.report import write_report
from cluster.run_folder import RunFolder
from learner.loop import LoopConfig, train_loop
from learner.model import ModelSpec
from rollout.engine import EngineOptions, Sampling
from rollout.prompt import PromptError

_REWARD_TIMEOUT_S = 60.0
_PROMPT_TIMEOUT_S = 300.0


def train(config: Config, *, resume: bool, say: Say) -> Path:
    """Train, evaluate and report; returns the run's folder.

    Raises:
        ConfigError: something that the user can mend, found before anything was started.
        RunFailed: the run ended before its last step.
    """
    check_model(config)
    videos = check_videos(config)
    folder = RunFolder(config, resume=resume)
    try:
        stages = _Stages()
        with stages.timed("videos"):
            videos = videos or draw_missing_videos(config, folder.path / "videos")
        for entry in videos.rejected:
            say(f"Set aside: {entry.path}: {entry.reason}")
        say(f"Videos: {len(videos.train)} to train on, {len(videos.held_out)} to evaluate on.")
        model_path = config.model.path
        if model_path.startswith(TINY_PREFIX):
            model_path = make_tiny_model(config, folder.path / "model", videos)
        _try_prompts(config, prompt_spec(config, videos, model_path))
        if config.warmup is not None:
            say("Warming up: a random model first learns what an answer looks like.")
        with stages.timed("warm-up"):
            model_path = warm_start(config, model_path, videos, folder.path / "model-warm", say)
        spec = model_spec(config, model_path)
        with ray_session(config):
            _run_actors(config, folder.path, videos, spec, stages, say)
    finally:
        folder.release()
    return folder.path


class RunFailed(RuntimeError):
    """The run ended before its last step; says why."""


class _Stages:
    """Seconds per stage of the driver's work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str) -> "_Timer":
        return _Timer(self.seconds, name)


@dataclass
class _Timer:
    seconds: dict[str, float]
    name: str
    started: float = 0.0

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.monotonic() - self.started


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
    config: Config, folder: Path, videos: Videos, spec: ModelSpec, stages: _Stages, say: Say
) -> None:
    say("Starting the rollout engine(s) and the learner ...")
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    run_log = _actor(RunLog, num_cpus=0, scheduling_strategy=here).remote(
        str(folder), config.grpo.reward_tolerance
    )
    members = {role.name: role for role in roles(config)}
    workers = _rollout_workers(config, members["rollout"], spec.path)
    prompts = prompt_spec(config, videos, spec.path)
    makers = [
        _actor(PromptMaker, members["prompt"], max_restarts=-1, max_task_retries=-1).remote(prompts)
        for _ in range(members["prompt"].count)
    ]
    scorers = [
        _actor(RewardWorker, members["reward"], max_restarts=-1, max_task_retries=-1).remote()
        for _ in range(members["reward"].count)
    ]
    experience = _actor(ExperienceActor, num_cpus=0, scheduling_strategy=here, max_concurrency=1000).remote(
        _experience_plan(config), makers, workers, scorers, run_log, config
    )
    trainer = _trainer(config, folder, spec, experience)
    progress = Progress(config.train.steps, tasks_of(config), say)
    with stages.timed("train and evaluate"):
        _fit(trainer, run_log, progress)
    failure = ray.get(experience.failure.remote())
    if failure is not None:
        raise RunFailed(_last_line(failure))
    write_report(folder, config, stages.seconds, say)


def _experience_plan(config: Config) -> ExperiencePlan:
    return ExperiencePlan(
        steps=config.train.steps,
        prompts_per_step=config.train.prompts_per_step,
        sampling=Sampling(
            config.grpo.group_size, config.rollout.temperature, config.rollout.max_tokens, config.seed
        ),
        tasks=tasks_of(config),
        samples_per_task=config.evaluation.samples_per_task,
        sampled_completions=config.evaluation.sampled_completions,
        shared_gpus=config.cluster.placement == "shared",
        recorded_groups=config.train.recorded_groups,
    )


def _actor(actor_class: type, role: Role | None = None, **options: Any) -> Any:
    if role is not None:
        options |= {"num_cpus": role.num_cpus, "num_gpus": role.num_gpus}
    return ray.remote(actor_class).options(**options)


def _weight_transfer(config: Config) -> str:
    if config.cluster.device == "cpu":
        return "gloo"
    return "ipc" if config.cluster.placement == "shared" else "nccl"


def _rollout_workers(config: Config, role: Role, model_path: str) -> list[Any]:
    rollout = config.rollout
    options = EngineOptions(
        model=model_path,
        device=config.cluster.device,
        dtype=rollout.dtype,
        seed=config.seed,
        max_model_len=config.data.max_prompt_tokens + rollout.max_tokens,
        max_num_seqs=rollout.max_num_seqs,
        max_videos=max(config.data.jigsaw.num_clips, 1),
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


def _trainer(config: Config, folder: Path, spec: ModelSpec, experience: Any) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    role = next(role for role in roles(config) if role.name == "learner")
    resources = {"CPU": role.num_cpus} | ({"GPU": role.num_gpus} if role.num_gpus else {})
    timeout_s = config.cluster.push_timeout_s

    def connect(session: str) -> LearnerPort:
        return LearnerPort(experience, session, config.grpo.reward_tolerance, timeout_s)

    loop = LoopConfig(
        spec=spec,
        learner=config.learner,
        grpo=config.grpo,
        device=config.cluster.device,
        weight_transfer=_weight_transfer(config),
        push_timeout_s=timeout_s,
        steps=config.train.steps,
        checkpoint_every=config.train.checkpoint_every,
        seed=config.seed,
        connect=connect,
    )
    return TorchTrainer(
        lambda: train_loop(loop),
        torch_config=TorchConfig(backend="nccl" if role.num_gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=role.count, use_gpu=role.num_gpus > 0, resources_per_worker=resources
        ),
        # The same name and storage path as before: Ray Train goes on from the last checkpoint there.
        run_config=RunConfig(
            name="learner",
            storage_path=str(folder / "checkpoints"),
            failure_config=FailureConfig(max_failures=config.learner.max_restarts),
            checkpoint_config=CheckpointConfig(num_to_keep=config.train.keep_checkpoints),
        ),
    )


def _fit(trainer: Any, run_log: Any, progress: Progress) -> None:
    """Run the trainer on a thread, so that the main one can show progress and be interrupted."""
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
        while thread.is_alive():
            thread.join(0.5)
            progress.show(ray.get(run_log.since.remote(progress.cursor)))
        progress.show(ray.get(run_log.since.remote(progress.cursor)))
    if outcome[0] is not None:
        raise RunFailed(_last_line(str(outcome[0]))) from outcome[0]


def _last_line(text: str) -> str:
    """The innermost cause, out of Ray's nested tracebacks."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


class ExperienceActor:
    """`Experience` with its hands on Ray: turns its calls into actor calls."""

    def __init__(
        self, plan: ExperiencePlan, makers: list[Any], workers: list[Any], scorers: list[Any], run_log: Any,
        config: Config,
    ) -> None:  # fmt: skip
        self._makers, self._scorers, self._run_log = makers, scorers, run_log
        self._workers, self._plan, self._config = workers, plan, config
        self._experience: Experience | None = None
        self._turn = 0

    async def begin(self, session: str, step: int) -> None:
        if self._experience is None:  # made here because the pool needs the running event loop
            rollout = self._config.rollout
            pool = RolloutPool(
                self._workers,
                start_timeout_s=rollout.start_timeout_s,
                generate_timeout_s=rollout.timeout_s,
                on_event=self.event,
            )
            self._experience = Experience(
                self._plan, make_prompt=self._make_prompt, pool=pool, score=self._score, record=self
            )
        await self._experience.begin(session, step)

    async def order(self, session: str, number: int, wait_s: float) -> Any:
        assert self._experience is not None
        return await self._experience.order(session, number, wait_s)

    async def report(self, session: str, number: int, report: Any) -> None:
        assert self._experience is not None
        await self._experience.report(session, number, report)

    async def failure(self) -> str | None:
        return self._experience.failure() if self._experience is not None else None

    async def event(self, kind: str, message: str) -> None:
        await self._run_log.event.remote(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: tuple[Group, ...]) -> None:
        await self._run_log.step.remote(step, metrics, groups)

    async def evaluation(self, answers: EvaluationAnswers) -> None:
        await self._run_log.evaluation.remote(answers)

    async def _make_prompt(self, split: Split, index: int, task: str | None) -> Prompt:
        maker = self._next(self._makers)
        meta, engine_input, model_input = maker.make.options(num_returns=3).remote(split, index, task)
        return Prompt(await asyncio.wait_for(meta, _PROMPT_TIMEOUT_S), engine_input, model_input)

    async def _score(self, items: Any) -> list[tuple[float, bool]]:
        scores: list[tuple[float, bool]] = await asyncio.wait_for(
            self._next(self._scorers).score.remote(items), _REWARD_TIMEOUT_S
        )
        return scores

    def _next(self, workers: list[Any]) -> Any:
        self._turn += 1
        return workers[self._turn % len(workers)]
