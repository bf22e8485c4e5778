"""The processes of a run: the resources that each requests from Ray, and the memory that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster.config.schema import TINY_PREFIX, Config
from learner.config import LOGIT_TOKENS
from vocabulary.workers import LEARNER, PROMPTS, REWARDS, ROLLOUT, WorkerRole

GIB = 2**30
# With placement=shared, a rollout worker and a learner rank request these shares of a GPU. Two rollout workers do
# not fit one GPU, so they spread over all GPUs, and the rest of each GPU fits exactly one rank.
SHARED_ROLLOUT_GPU, SHARED_LEARNER_GPU = 0.6, 0.4
# Logical CPUs of one process. On a laptop the processes take turns, so together they request at most one core.
CPU_SHARE = {"cpu": 0.1, "cuda": 1.0}
# Label of a Ray node that says which processes it is for (cluster.node_labels). It is a valid Kubernetes label too, so
# both use one name.
NODE_LABEL = "videossr.io/role"


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a model that its memory depends on."""

    parameters: float
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocabulary: int


# Copied from the published configs, so that a dry run needs neither the hub nor the weights.
PUBLISHED: dict[str, ModelSize] = {
    "Qwen/Qwen3-VL-2B-Instruct": ModelSize(2.13e9, 28, 2048, 8, 128, 151936),
    "Qwen/Qwen3-VL-4B-Instruct": ModelSize(4.44e9, 36, 2560, 8, 128, 151936),
    "Qwen/Qwen3-VL-8B-Instruct": ModelSize(8.77e9, 36, 4096, 8, 128, 151936),
    "Qwen/Qwen3-VL-32B-Instruct": ModelSize(33.4e9, 64, 5120, 8, 128, 151936),
    "Qwen/Qwen2.5-VL-3B-Instruct": ModelSize(3.75e9, 36, 2048, 2, 128, 151936),
    "Qwen/Qwen2.5-VL-7B-Instruct": ModelSize(8.29e9, 28, 3584, 4, 128, 152064),
}


@dataclass(frozen=True)
class RolePlan:
    """The processes of one role in a run, and the resources that they request from Ray."""

    name: WorkerRole | Literal["controller", "run log"]
    count: int  # number of processes
    num_cpus: float  # logical CPUs of one process
    num_gpus: float  # GPUs of one process
    where: str  # description of the machines or GPUs that the processes run on
    node_labels: Mapping[str, str] = field(default_factory=dict)  # labels that the Ray node must have


def role_plans(config: Config) -> tuple[RolePlan, ...]:
    """Return the plan of every role in a run."""
    cluster, gpus = config.cluster, config.cluster.device == "cuda"
    cpus = CPU_SHARE[cluster.device]
    rollout_gpus = (
        SHARED_ROLLOUT_GPU if cluster.shares_gpus else float(config.rollout.tensor_parallel_size)
    ) * gpus
    learner_gpus = (SHARED_LEARNER_GPU if cluster.shares_gpus else 1.0) * gpus
    where_rollout = (
        "the same GPUs as the learner, in turn"
        if cluster.shares_gpus
        else "GPUs of their own"
        if gpus
        else "CPU"
    )
    where_learner = "GPUs, one rank each" if gpus else "CPU"

    def plan(name: WorkerRole, count: int, num_gpus: float, where: str, label: str) -> RolePlan:
        if not cluster.node_labels:
            return RolePlan(name, count, cpus, num_gpus, where)
        # A dry run's table has 80 columns, so it shows the label instead of `where`.
        return RolePlan(name, count, cpus, num_gpus, f"{NODE_LABEL}={label}", {NODE_LABEL: label})

    return (
        plan(LEARNER, config.learner.num_workers, learner_gpus, where_learner, "learner"),
        # Rollout workers that share GPUs with learner ranks run on the learner's nodes.
        plan(
            ROLLOUT,
            config.rollout.num_workers,
            rollout_gpus,
            where_rollout,
            "learner" if cluster.shares_gpus else "rollout",
        ),
        plan(PROMPTS, cluster.num_prompt_workers, 0.0, "CPU, any node", "cpu"),
        plan(REWARDS, cluster.num_reward_workers, 0.0, "CPU, any node", "cpu"),
        RolePlan("controller", 1, 0.0, 0.0, "driver's node"),
        RolePlan("run log", 1, 0.0, 0.0, "driver's node"),
    )


def gpus_needed(config: Config) -> int:
    """Return the number of GPUs that a run needs."""
    if config.cluster.device == "cpu":
        return 0
    if config.cluster.shares_gpus:
        return config.learner.num_workers
    return config.learner.num_workers + config.rollout.num_workers * config.rollout.tensor_parallel_size


def model_size(path: str) -> ModelSize | None:
    """Return the size of a model from the table or from its local config; None if it is not on this machine."""
    if path in PUBLISHED:
        return PUBLISHED[path]
    if path.startswith(TINY_PREFIX):
        return ModelSize(0.6e6, 3, 96, 1, 32, 384)
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config: Any = AutoConfig.from_pretrained(path, local_files_only=True)
    except OSError:
        return None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    text = config.get_text_config()
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
    )


def learner_memory_gib(config: Config, size: ModelSize) -> dict[str, float]:
    """Return the expected memory of one learner rank in GiB, by purpose.

    Weights and gradients are in the training dtype (ZeRO-3 shards the weights, ZeRO-2 and 3 the gradients). Float32
    master weights and AdamW's two moments are sharded over the ranks. The frozen reference is as large as the weights.
    A micro-batch needs activations (with gradient checkpointing, the inputs of all layers and the insides of one;
    without it, the insides of all layers) and a piece of float32 logits.
    """
    learner, ranks = config.learner, config.learner.num_workers
    width = 4 if learner.dtype == "float32" else 2
    full, trained = size.parameters * width, _trained_parameters(config, size)
    longest = config.data.max_prompt_tokens + config.rollout.max_tokens  # a prompt is never truncated
    per_layer = max(learner.max_micro_batch_tokens, longest) * size.hidden * width
    activations = per_layer * size.layers * (1 if learner.gradient_checkpointing else 16)
    logits = min(LOGIT_TOKENS, config.grpo.group_size * config.rollout.max_tokens) * size.vocabulary * 4 * 3
    master = 4 if learner.dtype == "bfloat16" else 0
    weights = 0.0 if learner.offload == "all" else full / (ranks if learner.zero_stage == 3 else 1)
    own_reference = config.grpo.kl_coef > 0 and learner.lora is None
    parts = {
        "weights": weights,
        "gradients": trained * width / (ranks if learner.zero_stage >= 2 else 1),
        "optimiser": trained * (8 + master) / ranks * (learner.offload == "none"),
        "reference": weights * own_reference,
        "activations": activations + 16 * per_layer * learner.gradient_checkpointing,
        "logits": logits,
    }
    return {name: value / GIB for name, value in parts.items()}


def _trained_parameters(config: Config, size: ModelSize) -> float:
    """Return the number of trained parameters: all of them, or those of LoRA adapters.

    The rows and columns of a layer's seven matrices add up to about 20 times `hidden`.
    """
    if config.learner.lora is None:
        return size.parameters
    return 20.0 * size.hidden * size.layers * config.learner.lora.rank


def rollout_memory_gib(config: Config, size: ModelSize) -> dict[str, float]:
    """Return the expected memory of one GPU of a rollout engine in GiB, by purpose.

    The weights, and the key/value cache of one sequence of the longest prompt and completion.
    """
    rollout = config.rollout
    width = 4 if rollout.dtype == "float32" else 2
    token_bytes = 2 * size.layers * size.kv_heads * size.head_dim * width
    length = config.data.max_prompt_tokens + rollout.max_tokens
    return {
        "weights": size.parameters * width / rollout.tensor_parallel_size / GIB,
        "one full-length sequence": token_bytes * length / rollout.tensor_parallel_size / GIB,
    }


def memory_problems(config: Config) -> list[str]:
    """Return why the run does not fit GPUs of `cluster.gpu_memory_gib`; empty if it does, or if that is not known."""
    size = model_size(config.model.path)
    if config.cluster.device == "cpu" or size is None:
        return []
    gpu = config.cluster.gpu_memory_gib
    learner = sum(learner_memory_gib(config, size).values())
    rollout = sum(rollout_memory_gib(config, size).values())
    problems = []
    if learner > gpu:
        problems.append(
            f"learner: a rank is expected to take {learner:.0f} GiB, a GPU has {gpu:g} (cluster.gpu_memory_gib). "
            "Use learner.zero_stage=3, more learner.num_workers, learner.offload=optimizer, a smaller "
            "learner.max_micro_batch_tokens, or shorter data.max_prompt_tokens and rollout.max_tokens."
        )
    budget = gpu * config.rollout.gpu_memory_utilization
    if rollout > budget:
        problems.append(
            f"rollout: weights and one sequence take {rollout:.0f} GiB, but rollout.gpu_memory_utilization="
            f"{config.rollout.gpu_memory_utilization:g} of {gpu:g} GiB leaves {budget:.0f}. Raise it, or "
            "rollout.tensor_parallel_size."
        )
    resident = sum(
        value
        for name, value in learner_memory_gib(config, size).items()
        if name not in ("activations", "logits")
    )
    if config.cluster.shares_gpus and resident + budget > gpu:
        problems.append(
            f"cluster.placement='shared': the learner keeps {resident:.0f} GiB while the engine takes "
            f"{budget:.0f} of {gpu:g}. Lower rollout.gpu_memory_utilization to "
            f"{max(0.0, (gpu - resident) / gpu - 0.02):.2f} or less."
        )
    return problems
