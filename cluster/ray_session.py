"""Starting or joining Ray."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from cluster.config import Config
from cluster.load import ConfigError
from cluster.plan import gpus_needed, roles

# What every worker process of a run needs in its environment.
WORKER_ENV = {
    "OMP_WAIT_POLICY": "PASSIVE",  # see cluster.cli
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Ray, for as long as the run lasts.

    `cluster.address` names a Ray to join; "auto" joins the one this process runs in (a Ray job, or
    RAY_ADDRESS) and starts a local one where there is none. A local one ends with the run; in a joined one
    only this run's actors do.

    Raises:
        ConfigError: the cluster has not the GPUs that the run needs, or cannot be reached.
    """
    address = config.cluster.address
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "local")
    options: dict[str, Any] = {
        "address": address,
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {"env_vars": WORKER_ENV},
    }
    if address == "local":
        import torch

        _check_gpus(config, torch.cuda.device_count(), "this machine")
        options |= {"include_dashboard": False, "num_cpus": max(1, os.cpu_count() or 1)}
    # That a new local Ray asks for its token, which it has made, is nothing for the user to act on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").addFilter(
        lambda record: "is enabled" not in record.getMessage()
    )
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(
            f"cluster.address={config.cluster.address!r}: no Ray answers there ({error}). Start one with "
            "`ray start --head`, or set cluster.address=local."
        ) from None
    try:
        _check_resources(config)
        yield
    finally:
        ray.shutdown()


def _check_resources(config: Config) -> None:
    have = ray.cluster_resources()
    _check_gpus(config, int(have.get("GPU", 0)), "this Ray")
    cpus = sum(role.count * role.num_cpus for role in roles(config))
    if cpus > have.get("CPU", 0):
        raise ConfigError(
            f"cluster.num_prompt_workers={config.cluster.num_prompt_workers}: the run's processes ask for "
            f"{cpus:g} CPUs, this Ray has {have.get('CPU', 0):g}. Lower cluster.num_prompt_workers or "
            "cluster.num_reward_workers."
        )


def _check_gpus(config: Config, have: int, where: str) -> None:
    needed = gpus_needed(config)
    if needed > have:
        raise ConfigError(
            f"learner.num_workers={config.learner.num_workers}, rollout.num_workers={config.rollout.num_workers}: "
            f"the run needs {needed} GPU(s), {where} has {have}. Lower them, join a larger cluster with "
            "cluster.address, or set cluster.device=cpu."
        )
