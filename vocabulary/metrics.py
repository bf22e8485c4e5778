"""Every metric that a run records: its name, title, unit and meaning, and the Prometheus gauge it sets, if any.

    reward/grounding ──► Ray's gauge videossr_reward{run, task="grounding"} ──► Prometheus' ray_videossr_reward

Recorded by `actors/controller/` (rewards, groups, seconds), `learner/algorithm/metrics.py` (policy/...) and
`actors/record/` (the rest). `deploy/grafana/videossr.json` draws all gauges and no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PROMETHEUS_PREFIX = "ray_"  # Ray puts this before the name of every gauge

# Names that are read back somewhere.
STEP = "step"
MEAN_REWARD = "reward/mean"
REWARD_PREFIX = "reward/"  # and the task
SECONDS_PREFIX = "seconds/"  # and the part of a step
STEP_SECONDS = "seconds/step"
STEP_TOKENS = "step/tokens"
TOKENS_PER_SECOND = "tokens_per_second"
GROUPS_WITHOUT_SPREAD = "groups/without_spread"
ROLLOUT_WORKERS_ALIVE = "rollout/alive"


@dataclass(frozen=True)
class MetricGauge:
    """A gauge on Ray's metrics endpoint. Every gauge has the label `run`.

    Args:
        name: the name that Ray is given.
        description: shown by Prometheus and Grafana; includes the unit.
        label: label that holds the part of the metric's name after the slash; None: the gauge has none.
    """

    name: str
    description: str
    label: str | None = None


@dataclass(frozen=True)
class Metric:
    """One metric, or one per task.

    Args:
        name: as recorded, e.g. "policy/kl"; "reward/{task}" stands for one metric per task.
        title: for people.
        unit: "share" is between 0 and 1; "" is a plain number or count.
        meaning: one sentence.
    """

    name: str
    title: str
    unit: str
    meaning: str
    gauge: MetricGauge | None = None

    @property
    def is_per_task(self) -> bool:
        """Whether this entry covers one metric per task."""
        return self.name.endswith("/{task}")


_SECONDS = MetricGauge("videossr_seconds", "Seconds of a step by part", "phase")

METRICS: tuple[Metric, ...] = (
    Metric(STEP, "Steps done", "", "Number of steps done.", MetricGauge("videossr_step", "Steps done")),
    # --- rewards and groups: means over all groups sampled for a step
    Metric(MEAN_REWARD, "Mean reward", "", "Mean reward of all rollouts, 0 to 1.",
           MetricGauge("videossr_reward_mean", "Mean reward of a step, 0 to 1")),
    Metric("reward/{task}", "Mean reward by task", "", "Mean reward of the task's rollouts, 0 to 1.",
           MetricGauge("videossr_reward", "Mean reward of a step by task, 0 to 1", "task")),
    Metric("valid/mean", "Valid completions", "share",
           "Share of completions that have the form their task asks for.",
           MetricGauge("videossr_valid_mean", "Share of completions with the form their task asks for")),
    Metric("valid/{task}", "Valid completions by task", "share",
           "Share of the task's completions that have the form it asks for.",
           MetricGauge("videossr_valid", "Share of completions with the form the task asks for, by task", "task")),
    Metric("spread/{task}", "Spread of rewards by task", "",
           "Largest minus smallest reward of a group, averaged over the task's groups."),
    Metric(GROUPS_WITHOUT_SPREAD, "Groups without spread", "share",
           "Share of groups whose rewards differ by no more than grpo.reward_tolerance, which teach nothing."),
    Metric("groups/drawn", "Groups sampled", "", "Number of groups sampled for the step, discarded ones included."),
    Metric("groups/refilled", "Groups refilled", "",
           "Number of trained groups that replaced a group without spread."),
    Metric("staleness/mean", "Staleness", "steps",
           "Steps between the policy that sampled a group and the policy trained on it.",
           MetricGauge("videossr_staleness", "Steps between the sampling policy and the trained one")),
    # --- prompts and completions
    Metric("completion/tokens", "Completion length", "tokens", "Mean number of tokens of a completion."),
    Metric("completion/cut", "Completions cut off", "share",
           "Share of completions that reached the length limit."),
    Metric("completion/reward_failed", "Failed rewards", "share",
           "Share of completions for which the user's own reward function failed, which counts as reward 0."),
    Metric("prompt/tokens", "Prompt length", "tokens", "Mean number of tokens of a prompt."),
    Metric("step/completions", "Completions per step", "", "Number of completions sampled for the step."),
    Metric(STEP_TOKENS, "Tokens per step", "tokens",
           "Tokens of all prompts and completions, where a prompt counts once for each of its completions."),
    Metric(TOKENS_PER_SECOND, "Throughput", "tokens/s", "Tokens of a step divided by its seconds.",
           MetricGauge("videossr_tokens_per_second", "Tokens of prompts and completions per second")),
    # --- the learner's: means over the tokens that count in the loss
    Metric("policy/loss", "Loss", "", "Loss of the batch, averaged over its updates."),
    Metric("policy/kl", "KL", "nats/token", "KL divergence from the reference, the policy the run started from.",
           MetricGauge("videossr_kl", "KL divergence from the start policy, nats per token")),
    Metric("policy/entropy", "Entropy", "nats/token", "Entropy of the policy.",
           MetricGauge("videossr_entropy", "Entropy of the policy, nats per token")),
    Metric("policy/clip_low_share", "Clipped below", "share",
           "Share of tokens whose probability ratio was clipped at its lower bound."),
    Metric("policy/clip_high_share", "Clipped above", "share",
           "Share of tokens whose probability ratio was clipped at its upper bound."),
    Metric("policy/importance", "Importance weight", "",
           "Mean importance weight that corrects for rollouts of an older policy, see grpo.importance."),
    Metric("policy/grad_norm", "Gradient norm", "", "Norm of the gradient before clipping."),
    Metric("policy/learning_rate", "Learning rate", "", "Learning rate of the step."),
    Metric("policy/logprob_gap_mean", "Logprob gap, mean", "nats",
           "Mean absolute difference between the engine's and the learner's logprobs of the same tokens.",
           MetricGauge("videossr_logprob_gap_mean",
                       "Mean difference between the engine's and the learner's logprobs, nats")),
    Metric("policy/logprob_gap_max", "Logprob gap, largest", "nats",
           "Largest absolute difference between the engine's and the learner's logprobs of the same token.",
           MetricGauge("videossr_logprob_gap_max",
                       "Largest difference between the engine's and the learner's logprobs, nats")),
    Metric("policy/logprob_gap_k3", "Logprob gap, KL", "nats/token",
           "KL divergence of the engine's policy from the learner's, by the k3 estimator."),
    Metric("policy/tokens", "Trained tokens", "tokens", "Number of completion tokens that count in the loss."),
    # --- where the time of a step goes; docs/training.md says which parts overlap
    Metric(STEP_SECONDS, "Whole step", "s",
           "From the end of the step before to the end of this one, without evaluation.", _SECONDS),
    Metric("seconds/waited_for_groups", "Learner waited for groups", "s",
           "The learner was idle until the step's groups were ready.", _SECONDS),
    Metric("seconds/push", "Weight push", "s", "Sending the weights to the engines.", _SECONDS),
    Metric("seconds/update", "Update", "s", "The learner's update, as its rank 0 measured it.", _SECONDS),
    Metric("seconds/waited_for_update", "Engines waited for the update", "s",
           "The engines were idle while the learner trained.", _SECONDS),
    Metric("seconds/save", "Checkpoint", "s", "Writing the checkpoint of the step before.", _SECONDS),
    Metric("seconds/prompts", "Waited for prompts", "s",
           "The engines were idle until the step's prompts were built.", _SECONDS),
    Metric("seconds/rollout", "Rollout", "s", "Generating the step's completions.", _SECONDS),
    Metric("seconds/reward", "Waited for rewards", "s",
           "From the last completion to the last reward; most are scored while others are generated.", _SECONDS),
    # --- set outside a step
    Metric(ROLLOUT_WORKERS_ALIVE, "Rollout workers running", "", "Number of rollout workers that are running.",
           MetricGauge("videossr_rollout_alive", "Rollout workers that are running")),
    Metric("held_out/{task}", "Held-out reward by task", "",
           "Mean reward of sampled completions of held-out samples, 0 to 1; for Weights & Biases and MLflow."),
    Metric("held_out/step", "Step of the held-out evaluation", "",
           "Steps done when the held-out samples were evaluated; for Weights & Biases."),
)  # fmt: skip

_BY_NAME: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in METRICS})


def metric(name: str) -> Metric:
    """Return the catalogue's entry for a recorded name.

    >>> metric("reward/jigsaw").title
    'Mean reward by task'

    Raises:
        KeyError: the catalogue has no such metric.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    area, _, task = name.partition("/")
    family = _BY_NAME.get(f"{area}/{{task}}")
    if family is None or not task:
        raise KeyError(f"{name!r}: is not in the catalogue of metrics. Add it to vocabulary/metrics.py.")
    return family


def gauges() -> tuple[MetricGauge, ...]:
    """Return all gauges, each once."""
    return tuple(dict.fromkeys(entry.gauge for entry in METRICS if entry.gauge is not None))


def gauge_of(name: str) -> tuple[MetricGauge, dict[str, str]] | None:
    """Return the gauge that a metric sets, and its labels besides `run`; None for a metric without a gauge.

    >>> gauge, labels = gauge_of("reward/grounding")
    >>> gauge.name, labels
    ('videossr_reward', {'task': 'grounding'})
    """
    try:
        gauge = metric(name).gauge
    except KeyError:  # a new metric is recorded even before it is in the catalogue
        return None
    if gauge is None:
        return None
    return gauge, {gauge.label: name.partition("/")[2]} if gauge.label else {}
