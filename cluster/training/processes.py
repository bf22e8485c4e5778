"""Starts the processes of a run: the run log, the workers, the controller and the learner group."""

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.controller.actor import ControllerActor
from actors.controller.controller import ControllerConfig
from actors.record.run_log import RunLog
from actors.workers.learner_port import LearnerPort
from actors.workers.prompt_worker import PromptWorkerActor
from actors.workers.reward_worker import RewardWorker
from actors.workers.rollout_worker import RolloutWorker
from cluster.config.schema import Config
from cluster.runs.folder import bulk_files, run_bucket
from cluster.training.placement import RolePlan, role_plans
from cluster.training.prepare import RunData, prompt_spec
from learner.loop import LoopConfig, train_loop
from learner.modeling.policy_model import ModelSpec
from rollout.engine import EngineOptions
from vocabulary import events
from vocabulary.stages import STAGE_EVENT, STARTING
from vocabulary.workers import LEARNER, PROMPTS, REWARDS, ROLLOUT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processes:
    """The processes of a run that the driver talks to."""

    run_log: Any  # handle of the RunLog actor
    controller: Any  # handle of the ControllerActor
    trainer: Any  # Ray Train's trainer, whose `fit` runs the learner group


def start_processes(
    config: Config, folder: Path, data: RunData, spec: ModelSpec, store: tuple[str, int] | None
) -> Processes:
    """Start all processes of a run except the learner group, which starts when the trainer's `fit` is called.

    Args:
        folder: runs/NAME.
        store: URL of the run store, and the run's number in it; None: no store.
    """
    driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    run_log = actor(RunLog, num_cpus=0, scheduling_strategy=driver_node).remote(
        str(folder),
        grpo=config.grpo,
        run_name=config.name,
        store=store,
        trackers=config.trackers,
        config=config.model_dump(mode="json"),
        bucket=run_bucket(folder),
    )
    for entry in data.skipped:
        run_log.event.remote(events.VIDEO_SKIPPED, f"{entry.path}: {entry.reason}")
    run_log.event.remote(STAGE_EVENT, STARTING)
    plans = {plan.name: plan for plan in role_plans(config)}
    controller = actor(ControllerActor, num_cpus=0, scheduling_strategy=driver_node).remote(
        _controller_config(config),
        prompt_workers=_prompt_workers(config, plans[PROMPTS], folder, data, spec.path),
        rollout_workers=_rollout_workers(config, plans[ROLLOUT], spec.path, data.max_clips),
        reward_workers=_reward_workers(config, plans[REWARDS]),
        run_log=run_log,
    )
    logger.info("started the workers: %s", {name: plan.count for name, plan in plans.items()})
    return Processes(run_log, controller, _trainer(config, folder, spec, plans[LEARNER], controller))


def actor(actor_class: type, plan: RolePlan | None = None, **options: Any) -> Any:
    """Return a class as a Ray actor class, with the resources of its role."""
    if plan is not None:
        options |= {"num_cpus": plan.num_cpus, "num_gpus": plan.num_gpus}
        options |= {"label_selector": dict(plan.node_labels) or None}
    return ray.remote(actor_class).options(**options)


def scaling(plan: RolePlan) -> Any:
    """Return the resources of the learner group as Ray Train takes them."""
    from ray.train import ScalingConfig

    return ScalingConfig(
        num_workers=plan.count,
        use_gpu=plan.num_gpus > 0,
        resources_per_worker={"CPU": plan.num_cpus} | ({"GPU": plan.num_gpus} if plan.num_gpus else {}),
        label_selector=dict(plan.node_labels) or None,
    )


def _controller_config(config: Config) -> ControllerConfig:
    return ControllerConfig(
        train=config.train,
        evaluation=config.evaluation,
        grpo=config.grpo,
        rollout=config.rollout,
        tasks=config.data.tasks,
        seed=config.seed,
        shares_gpus=config.cluster.shares_gpus,
    )


def _prompt_workers(
    config: Config, plan: RolePlan, folder: Path, data: RunData, model_path: str
) -> list[Any]:
    spec_file = folder / "prompts.pickle"
    spec_file.write_bytes(pickle.dumps(prompt_spec(config, data, model_path)))
    worker = actor(PromptWorkerActor, plan, max_restarts=-1, max_task_retries=-1)
    return [worker.remote(str(spec_file)) for _ in range(plan.count)]


def _reward_workers(config: Config, plan: RolePlan) -> list[Any]:
    worker = actor(RewardWorker, plan, max_restarts=-1, max_task_retries=-1)
    return [worker.remote(config.reward) for _ in range(plan.count)]


def _rollout_workers(config: Config, plan: RolePlan, model_path: str, max_clips: int) -> list[Any]:
    options = EngineOptions(
        model=model_path,
        rollout=config.rollout,
        device=config.cluster.device,
        seed=config.seed,
        max_model_len=config.data.max_prompt_tokens + config.rollout.max_tokens,
        max_videos=max_clips,
        weight_transfer=config.cluster.weight_transfer,
        shares_gpus=config.cluster.shares_gpus,
    )
    worker = actor(RolloutWorker, plan, max_restarts=config.rollout.max_restarts)
    return [worker.remote(options) for _ in range(plan.count)]


def _trainer(config: Config, folder: Path, spec: ModelSpec, plan: RolePlan, controller: Any) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    loop = LoopConfig(
        spec=spec,
        learner=config.learner,
        grpo=config.grpo,
        device=config.cluster.device,
        weight_transfer=config.cluster.weight_transfer,
        shares_gpus=config.cluster.shares_gpus,
        push_timeout_s=config.cluster.push_timeout_s,
        steps=config.train.steps,
        max_tokens=config.rollout.max_tokens,
        seed=config.seed,
        connect=lambda session: LearnerPort(controller, session),
    )
    return TorchTrainer(
        lambda: train_loop(loop),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if plan.num_gpus else "gloo"),
        scaling_config=scaling(plan),
        # With the same name and storage path as before, Ray Train resumes from the last checkpoint there.
        run_config=RunConfig(
            name="learner",
            storage_path=bulk_files(folder).below("checkpoints").address,
            failure_config=FailureConfig(max_failures=config.learner.max_restarts),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.train.keep_checkpoints,
                checkpoint_score_attribute="score",
                checkpoint_score_order="max",
            ),
        ),
    )
