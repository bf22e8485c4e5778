"""Rules between settings, which no single field can check."""

from collections.abc import Iterator

from cluster.config.schema import Config
from pretext.tasks import TASKS
from vocabulary.problems import NO_VALUE, Problem


def contradictions(config: Config) -> list[Problem]:
    """Return what contradicts itself in `config`, whose fields are valid one by one."""
    rules = (_data_problems, _evaluation_problems, _batch_problems, _staleness_problems, _device_problems)
    return [problem for rule in rules for problem in rule(config)]


def _data_problems(config: Config) -> Iterator[Problem]:
    data = config.data
    for task in data.tasks if data.dataset is None else ():  # the samples of a dataset exist already
        try:
            TASKS[task].check(data.params_by_task[task], data.frames.num_frames)
        except ValueError as error:
            yield Problem(f"data.{task}", NO_VALUE, str(error))
    if not data.tasks:
        yield Problem("data.mix", data.mix, "no task has a weight above 0", "Give one a weight of 1")
    if unknown := set(config.grpo.task_weights) - set(data.tasks):
        yield Problem(
            "grpo.task_weights",
            config.grpo.task_weights,
            f"{', '.join(sorted(unknown))} is not in data.mix ({', '.join(data.tasks)})",
            "Name tasks that are trained",
        )


def _evaluation_problems(config: Config) -> Iterator[Problem]:
    if config.evaluation.every > 0 and config.evaluation.samples_per_task == 0:
        yield Problem(
            "evaluation.every",
            config.evaluation.every,
            "there is nothing to evaluate on",
            "Set evaluation.samples_per_task above 0, or evaluation.every=0",
        )


def _batch_problems(config: Config) -> Iterator[Problem]:
    prompts, ranks = config.train.prompts_per_step, config.learner.num_workers
    if prompts < ranks:
        yield Problem(
            "train.prompts_per_step",
            prompts,
            "every learner rank needs a prompt",
            f"Set it to learner.num_workers={ranks} or more",
        )
    elif prompts < config.grpo.updates_per_batch * ranks:
        yield Problem(
            "grpo.updates_per_batch",
            config.grpo.updates_per_batch,
            f"too few prompts for as many updates on {ranks} rank(s)",
            "Lower it, or raise train.prompts_per_step",
        )
    if config.learner.schedule.warmup_steps >= config.train.steps:
        yield Problem(
            "learner.schedule.warmup_steps",
            config.learner.schedule.warmup_steps,
            "the run would end before its learning rate is reached",
            f"Set it below train.steps={config.train.steps}",
        )
    if config.grpo.overlong.buffer_tokens > config.rollout.max_tokens:
        yield Problem(
            "grpo.overlong.buffer_tokens",
            config.grpo.overlong.buffer_tokens,
            "longer than the longest completion",
            f"Set it below rollout.max_tokens={config.rollout.max_tokens}",
        )


def _staleness_problems(config: Config) -> Iterator[Problem]:
    if config.train.max_staleness == 0:
        return
    if config.cluster.shares_gpus:
        yield Problem(
            "train.max_staleness",
            1,
            "on shared GPUs rollout and update take turns, so nothing overlaps",
            "Set train.max_staleness=0, or cluster.placement=separate",
        )
    if config.grpo.importance == "none":
        yield Problem(
            "grpo.importance",
            "none",
            "with train.max_staleness=1 rollouts are of an older policy, and need importance weights to be unbiased",
            "Set grpo.importance to token or sequence, or train.max_staleness=0",
        )
    if config.learner.max_logprob_gap is not None:
        yield Problem(
            "learner.max_logprob_gap",
            config.learner.max_logprob_gap,
            "compares engine and learner on rollouts of the current policy, and with train.max_staleness=1 they are "
            "of the one before",
            "Set it to null",
        )


def _device_problems(config: Config) -> Iterator[Problem]:
    rollout, learner, shares_gpus = config.rollout, config.learner, config.cluster.shares_gpus
    if config.cluster.device == "cuda":
        if shares_gpus and (rollout.tensor_parallel_size > 1 or rollout.num_workers != learner.num_workers):
            yield Problem(
                "cluster.placement",
                "shared",
                f"each GPU holds one learner rank and one engine, but rollout has {rollout.num_workers} engines of "
                f"{rollout.tensor_parallel_size} GPU(s) and learner {learner.num_workers} ranks",
                "Make the numbers equal and tensor_parallel_size 1",
            )
        return
    if learner.attention in ("flex", "flash_attention_2"):
        yield Problem("learner.attention", learner.attention, "its kernels need a GPU", "Set it to sdpa")
    for name, dtype in (("rollout", rollout.dtype), ("learner", learner.dtype)):
        if dtype != "float32":
            yield Problem(f"{name}.dtype", dtype, "on a CPU we train in float32", "Set it to float32")
    if shares_gpus:
        yield Problem(
            "cluster.placement", "shared", "there are no GPUs to share on a CPU", "Set it to separate"
        )
