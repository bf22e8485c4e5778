"""Starting or joining Ray."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from cluster.config.load import ConfigError
from cluster.config.schema import Config
from cluster.training.placement import NODE_LABEL, Role, gpus_needed, roles

# What every worker process of a run needs in its environment.
WORKER_ENV = {
    "OMP_WAIT_POLICY": "PASSIVE",  # see cluster.cli.main
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Ray, for as long as the run lasts; see `joined_ray`.

    Raises:
        ConfigError: the cluster has not what the run needs, or cannot be reached.
    """
    with joined_ray(config.cluster.address):
        _check_resources(config)
        yield


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """`address` names a Ray to join; "auto" joins the one this process runs in (a Ray job, or RAY_ADDRESS) and
    starts a local one where there is none. A local one ends with the block; in a joined one only what was
    started in it does.

    Raises:
        ConfigError: no Ray can be reached there.
    """
    to_join = _address(address)
    options: dict[str, Any] = {
        "address": to_join,
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {"env_vars": WORKER_ENV},
    }
    if to_join == "local":
        options |= {"include_dashboard": False, "num_cpus": max(1, os.cpu_count() or 1)}
    # That a new local Ray asks for its token, which it has made, is nothing for the user to act on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").addFilter(
        lambda record: "is enabled" not in record.getMessage()
    )
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(
            f"cluster.address={address!r}: no Ray answers there ({error}). Start one with "
            "`ray start --head`, or set cluster.address=local."
        ) from None
    # ray.init puts a handler of its own here. `ray job stop`, Kubernetes and systemd send SIGTERM: end as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        ray.shutdown()


def check_this_machine(config: Config) -> None:
    """Refuse a run that a local Ray could not carry, before one is started. Raises ConfigError."""
    if _address(config.cluster.address) == "local":
        import torch

        _check_gpus(config, torch.cuda.device_count(), "this machine")


def _address(address: str) -> str:
    return os.environ.get("RAY_ADDRESS", "local") if address == "auto" else address


def _check_resources(config: Config) -> None:
    if config.cluster.autoscaling:
        return  # what is asked for is what makes it grow
    have = ray.cluster_resources()
    _check_gpus(config, int(have.get("GPU", 0)), "this Ray")
    cpus = sum(role.count * role.num_cpus for role in roles(config))
    if cpus > have.get("CPU", 0):
        counts = ", ".join(
            f"{name}={count}"
            for name, count in (
                ("learner.num_workers", config.learner.num_workers),
                ("rollout.num_workers", config.rollout.num_workers),
                ("cluster.num_prompt_workers", config.cluster.num_prompt_workers),
                ("cluster.num_reward_workers", config.cluster.num_reward_workers),
            )
        )
        raise ConfigError(
            f"{counts}: these processes ask for {cpus:g} CPUs, this Ray has {have.get('CPU', 0):g}. Lower the largest."
        )
    _check_node_labels(config, ray.nodes())


def _check_gpus(config: Config, have: int, where: str) -> None:
    needed = gpus_needed(config)
    if needed > have:
        raise ConfigError(
            f"learner.num_workers={config.learner.num_workers}, rollout.num_workers={config.rollout.num_workers}: "
            f"the run needs {needed} GPU(s), {where} has {have}. Lower them, join a larger cluster with "
            "cluster.address, or set cluster.device=cpu."
        )


def _check_node_labels(config: Config, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what no labelled node could take: its processes would wait for one until they time out.

    Args:
        nodes: as ray.nodes() gives them: Alive, Labels, Resources.
    """
    for label, asking in _roles_by_label(config).items():
        labelled = [
            node["Resources"] for node in nodes if node["Alive"] and node["Labels"].get(NODE_LABEL) == label
        ]
        for resource, each in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            needed = sum(role.count * getattr(role, each) for role in asking)
            have = sum(resources.get(resource, 0) for resources in labelled)
            if needed > have + 1e-6:  # shares of a CPU add up to a bit more
                raise ConfigError(
                    f"cluster.node_labels=true: {' and '.join(role.name for role in asking)} ask for {needed:g} "
                    f"{resource}(s) on nodes labelled {NODE_LABEL}={label}, and those of this Ray have {have:g}. Start "
                    f"some with `ray start --labels {NODE_LABEL}={label}`, or set cluster.node_labels=false."
                )


def _roles_by_label(config: Config) -> dict[str, list[Role]]:
    found: dict[str, list[Role]] = {}
    for role in roles(config):
        if role.node_labels:
            found.setdefault(role.node_labels[NODE_LABEL], []).append(role)
    return found
