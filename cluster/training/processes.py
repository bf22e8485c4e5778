"""Starts a run's processes: the actors of the producer side, and the learner group."""

import pickle
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.controller.actor import ExperienceActor
from actors.controller.batches import BatchPlan
from actors.controller.controller import ExperiencePlan
from actors.controller.held_out import EvaluationPlan
from actors.record.run_log import RunLog, RunLogPlan
from actors.workers.learner_port import LearnerPort
from actors.workers.prompt_worker import PromptMakerActor
from actors.workers.reward_worker import RewardWorker
from actors.workers.rollout_worker import RolloutWorker
from cluster.config.load import tasks_of
from cluster.config.schema import Config
from cluster.runs.folder import bucket_of, bulk_of
from cluster.training.placement import Role, roles
from cluster.training.prepare import Data, prompt_spec
from learner.loop import LoopConfig, train_loop
from learner.modeling.policy_model import ModelSpec
from rollout.engine import EngineOptions, Sampling


def start_processes(
    config: Config, folder: Path, data: Data, spec: ModelSpec, store: tuple[str, int] | None
) -> tuple[Any, Any, Any]:
    """All of them but the learner group, which starts when the trainer is told to fit.

    Args:
        folder: runs/NAME.
        store: address of the run store, and the run's number there.

    Returns:
        Handles of the run log and of the experience actor, and the trainer.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    run_log = actor(RunLog, num_cpus=0, scheduling_strategy=here).remote(
        RunLogPlan(
            folder=str(folder),
            grpo=config.grpo,
            name=config.name,
            store=store,
            trackers=config.trackers,
            config=config.model_dump(mode="json"),
            bucket=bucket_of(folder),
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
        actor(PromptMakerActor, members["prompt"], max_restarts=-1, max_task_retries=-1).remote(
            str(spec_file)
        )
        for _ in range(members["prompt"].count)
    ]
    scorers = [
        actor(RewardWorker, members["reward"], max_restarts=-1, max_task_retries=-1).remote(
            config.reward.function
        )
        for _ in range(members["reward"].count)
    ]
    experience = actor(ExperienceActor, num_cpus=0, scheduling_strategy=here).remote(
        _experience_plan(config),
        makers=makers,
        workers=workers,
        scorers=scorers,
        run_log=run_log,
        start_timeout_s=config.rollout.start_timeout_s,
        generate_timeout_s=config.rollout.timeout_s,
    )
    return run_log, experience, _trainer(config, folder, spec, experience)


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


def actor(actor_class: type, role: Role | None = None, **options: Any) -> Any:
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
        actor(RolloutWorker, role, max_restarts=rollout.max_restarts).remote(options)
        for _ in range(role.count)
    ]


def scaling(role: Role) -> Any:
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
        scaling_config=scaling(role),
        # The same name and storage path as before: Ray Train goes on from the last checkpoint there.
        run_config=RunConfig(
            name="learner",
            storage_path=bulk_of(folder).below("checkpoints").address,
            failure_config=FailureConfig(max_failures=config.learner.max_restarts),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.train.keep_checkpoints,
                checkpoint_score_attribute="score",
                checkpoint_score_order="max",
            ),
        ),
    )
