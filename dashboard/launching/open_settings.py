"""What of a configuration may be set over HTTP, and how far. Pure.

Every setting that there is stands in just one of these tables; a test goes through the whole configuration. So one that
is added later is closed until somebody has thought about it and puts it here. `largest` is far above what a run on a
large cluster wants, and below what harms the machines: who needs more uses the command line, or allows it.
"""

from collections.abc import Mapping

# Numbers, and pairs of numbers, with the largest.
LARGEST: Mapping[str, float] = {
    "seed": 2**32 - 1,
    # Frames are decoded, drawn on and sent; scenes are drawn to disk.
    "data.num_drawn": 10_000,
    "data.num_drawn_held_out": 2_000,
    "data.held_out_share": 1,
    "data.max_prompt_tokens": 131_072,
    "data.frames.num_frames": 256,
    "data.frames.window": 1,
    "data.frames.min_pixels": 768 * 768,
    "data.frames.max_pixels": 768 * 768,
    "data.frames.multiple_of": 256,
    "data.grounding.segment": 256,
    "data.grounding.zoom_in": 10,
    "data.grounding.zoom_out": 10,
    "data.grounding.noise": 255,
    "data.grounding.blur": 50,
    "data.grounding.saturation": 100,
    "data.grounding.stutter": 256,
    "data.grounding.min_change": 255,
    "data.grounding.min_motion": 255,
    "data.jigsaw.num_clips": 12,
    "data.jigsaw.gap": 256,
    "data.counting.frames_per_kind": 256,
    "data.counting.shapes_per_frame": 20,
    "data.counting.min_distance": 256,
    "data.counting.size": 1,
    # Engines and their memory.
    "rollout.num_workers": 64,
    "rollout.tensor_parallel_size": 16,
    "rollout.temperature": 10,
    "rollout.max_tokens": 32_768,
    "rollout.max_num_seqs": 1024,
    "rollout.gpu_memory_utilization": 0.95,
    "rollout.kv_cache_gib": 64,
    "rollout.start_timeout_s": 24 * 3600,
    "rollout.timeout_s": 24 * 3600,
    "rollout.max_restarts": 100,
    # The update.
    "grpo.group_size": 64,
    "grpo.clip_low": 1,
    "grpo.clip_high": 1000,
    "grpo.kl_coef": 1000,
    "grpo.entropy_coef": 1000,
    "grpo.reward_tolerance": 1,
    "grpo.updates_per_batch": 64,
    "grpo.importance_cap": 1000,
    "grpo.overlong.buffer_tokens": 32_768,
    "grpo.overlong.penalty": 1000,
    "grpo.difficulty.group_exponent": 100,
    "grpo.difficulty.task_exponent": 100,
    "grpo.max_refills": 20,
    "learner.num_workers": 64,
    "learner.zero_stage": 3,
    "learner.max_micro_batch_tokens": 262_144,
    "learner.lora.rank": 512,
    "learner.lora.alpha": 10_000,
    "learner.learning_rate": 1,
    "learner.schedule.warmup_steps": 100_000,
    "learner.schedule.min_ratio": 1,
    "learner.adam_betas": 1,
    "learner.weight_decay": 1000,
    "learner.max_grad_norm": 1e6,
    "learner.max_logprob_gap": 1000,
    "learner.max_restarts": 100,
    # How long, and what is kept: a checkpoint of 8B with its optimiser is 120 GB.
    "train.steps": 100_000,
    "train.prompts_per_step": 1024,
    "train.max_staleness": 1,
    "train.checkpoint_every": 100_000,
    "train.keep_checkpoints": 10,
    "train.recorded_groups": 64,
    "warmup.form_learning_rate": 1,
    "warmup.right_learning_rate": 1,
    "warmup.adam_betas": 1,
    "warmup.max_grad_norm": 1e6,
    "warmup.form_prompts": 512,
    "warmup.form_answers": 64,
    "warmup.right_samples": 2048,
    "warmup.catch_up": 100,
    "warmup.target_validity": 1,
    "warmup.target_score": 1,
    "warmup.eval_every": 20_000,
    "warmup.max_steps": 20_000,
    "warmup.max_answer_tokens": 1024,
    "evaluation.samples_per_task": 5_000,
    "evaluation.every": 100_000,
    "evaluation.sampled_completions": 64,
    "cluster.gpu_memory_gib": 1000,
    "cluster.num_prompt_workers": 256,
    "cluster.num_reward_workers": 64,
    "cluster.push_timeout_s": 24 * 3600,
}
# Numbers by task, each with the largest.
LARGEST_BY_TASK: Mapping[str, float] = {"data.mix": 1e6, "grpo.task_weights": 1000}
# Texts, with the most characters.
LONGEST: Mapping[str, int] = {"name": 100, "data.system_prompt": 4000}
# Switches, and choices between a few words: the configuration itself holds what there is to choose from.
CHOICES = frozenset(
    {
        "data.grounding.perturbations",
        "data.grounding.describe",
        "data.grounding.balanced",
        "data.counting.balanced",
        "data.frames.clock",
        "data.frames.reader",
        "rollout.dtype",
        "grpo.advantage",
        "grpo.ratio",
        "grpo.aggregation",
        "grpo.kl_in",
        "grpo.kl_estimator",
        "grpo.importance",
        "grpo.mask_truncated",
        "learner.offload",
        "learner.dtype",
        "learner.shared_prefix",
        "learner.attention",
        "learner.gradient_checkpointing",
        "learner.freeze_vision",
        "learner.lora.layers",
        "learner.schedule.kind",
        "cluster.device",
        "cluster.placement",
        "cluster.node_labels",
        "cluster.autoscaling",
    }
)
# Where something is: open within the places that the server names.
PLACES = frozenset({"model.path", "data.videos", "data.dataset", "runs_dir", "bucket"})
# Closed: why. (They may say what they say anyway, as a run's stored configuration does.)
CLOSED: Mapping[str, str] = {
    "reward.function": "it names code",
    "rollout.vllm_args": "it reaches everything in vLLM, code and files too",
    "cluster.address": "it names another cluster",
    "trackers": "they send what a run does to other servers",
}
# What closed ones say where nobody set them.
UNSET: Mapping[str, object] = {"cluster.address": "auto", "trackers": []}

OPEN = LARGEST.keys() | LARGEST_BY_TASK.keys() | LONGEST.keys() | CHOICES | PLACES
KNOWN = OPEN | CLOSED.keys()
