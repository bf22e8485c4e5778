"""What of a run's metrics goes to Prometheus through Ray, and under which name.

    reward/grounding ──► Ray's gauge videossr_reward{run, task="grounding"} ──► Prometheus' ray_videossr_reward

`deploy/grafana/videossr.json` draws these, and no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PROMETHEUS_PREFIX = "ray_"  # Ray's, before every name


@dataclass(frozen=True)
class GaugeName:
    """One gauge. All have the tag `run`.

    Args:
        name: as Ray is told it.
        description: shown by Prometheus and Grafana, with the unit.
        tag: what the metric's own name says besides its area; None: nothing.
    """

    name: str
    description: str
    tag: str | None = None


# By metric. `area/*` are all metrics of an area but those that stand here by their whole name.
GAUGES: Mapping[str, GaugeName] = MappingProxyType(
    {
        "step": GaugeName("videossr_step", "Steps done"),
        "reward/mean": GaugeName("videossr_reward_mean", "Mean reward of a step, 0 to 1"),
        "reward/*": GaugeName("videossr_reward", "Mean reward of a step by task, 0 to 1", "task"),
        "valid/mean": GaugeName("videossr_valid_mean", "Share of answers that have their task's form"),
        "valid/*": GaugeName("videossr_valid", "Share of answers that have the task's form", "task"),
        "policy/kl": GaugeName("videossr_kl", "KL to the start policy, nats a token"),
        "policy/entropy": GaugeName("videossr_entropy", "The policy's entropy, nats a token"),
        "policy/logprob_gap_mean": GaugeName(
            "videossr_logprob_gap_mean",
            "Mean difference between the engine's and the learner's logprobs, nats",
        ),
        "policy/logprob_gap_max": GaugeName(
            "videossr_logprob_gap_max",
            "Largest difference between the engine's and the learner's logprobs, nats",
        ),
        "seconds/*": GaugeName("videossr_seconds", "Seconds of a step by phase", "phase"),
        "tokens_per_second": GaugeName(
            "videossr_tokens_per_second", "Tokens of prompts and completions a second"
        ),
        "staleness/mean": GaugeName(
            "videossr_staleness", "Steps from the sampling policy to the trained one"
        ),
        "rollout/alive": GaugeName("videossr_rollout_alive", "Rollout workers that serve"),
    }
)


def gauge_of(metric: str) -> tuple[GaugeName, dict[str, str]] | None:
    """The gauge of a metric and the tag it sets; None for a metric that stays in the record.

    >>> gauge, tags = gauge_of("reward/grounding")
    >>> gauge.name, tags
    ('videossr_reward', {'task': 'grounding'})
    """
    if metric in GAUGES:
        return GAUGES[metric], {}
    area, _, rest = metric.partition("/")
    family = GAUGES.get(f"{area}/*")
    if family is None or family.tag is None or not rest:
        return None
    return family, {family.tag: rest}
