"""Starting or joining a Ray cluster, and refusing one that is too small for the run."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from cluster.config.errors import ConfigError
from cluster.config.schema import Config
from cluster.logs import worker_environment, worker_hook
from cluster.training.placement import NODE_LABEL, RolePlan, gpus_needed, role_plans

logger = logging.getLogger(__name__)

LOCAL_START_TIMEOUT_S = 300.0
# Environment variables of every worker process.
WORKER_ENV = {
    "OMP_WAIT_POLICY": "PASSIVE",  # see cluster/cli/main.py
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Connect to a run's Ray cluster until the block ends; see `ray_cluster`.

    Raises:
        ConfigError: the cluster cannot be reached, or has fewer resources than the run needs.
    """
    with ray_cluster(config.cluster.address):
        _check_resources(config)
        yield


@contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Join or start a Ray cluster until the block ends.

    A cluster that was started here ends with the block. In a cluster that was joined, only this process's actors end.

    Args:
        address: the cluster to join; "local" starts one on this machine; "auto" joins the one of RAY_ADDRESS (which Ray
            sets in its jobs) and otherwise starts a local one.

    Raises:
        ConfigError: no Ray cluster answers at `address`.
    """
    to_join = _address(address)
    options: dict[str, Any] = {
        "address": to_join,
        "log_to_driver": False,
        "configure_logging": False,
        "runtime_env": {
            "env_vars": WORKER_ENV | worker_environment(),
            "worker_process_setup_hook": worker_hook(),
        },
    }
    if to_join == "local":
        options |= {"include_dashboard": False, "num_cpus": max(1, os.cpu_count() or 1)}
        allow_slow_start()
    # Ray announces that a new local cluster uses a token. Ray created it, so the user need not act on it.
    logging.getLogger("ray._private.authentication.authentication_token_setup").addFilter(
        lambda record: "is enabled" not in record.getMessage()
    )
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(
            "cluster.address",
            address,
            f"no Ray cluster answers there ({error})",
            "Start one with `ray start --head`, or set cluster.address=local",
        ) from None
    # `ray job stop`, Kubernetes and systemd send SIGTERM, which must act like Ctrl-C. ray.init replaced our handler.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logger.info("Ray session: %s (logs of the workers are in its logs/)", _session_folder())
    try:
        yield
    finally:
        ray.shutdown()


def allow_slow_start() -> None:
    """Give a local cluster LOCAL_START_TIMEOUT_S to start.

    Ray waits 30 s for its own node and has no setting for that. A busy machine needs longer.
    """
    services = ray._private.services
    get_node = services.get_node
    if getattr(get_node, "patient", False):
        return

    def get_node_patiently(*arguments: Any) -> Any:
        deadline = time.monotonic() + LOCAL_START_TIMEOUT_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:  # the node is not registered yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    get_node_patiently.patient = True  # type: ignore[attr-defined]
    services.get_node = get_node_patiently


def _session_folder() -> str:
    # Ray has no public function for this.
    return str(ray._private.worker.global_worker.node.get_session_dir_path())


def check_this_machine(config: Config) -> None:
    """Refuse a run that needs more GPUs than this machine has, before a local Ray cluster is started.

    Raises:
        ConfigError: the run starts its own cluster, and this machine has too few GPUs.
    """
    if _address(config.cluster.address) == "local":
        import torch

        _check_gpus(config, torch.cuda.device_count(), "this machine")


def _address(address: str) -> str:
    return os.environ.get("RAY_ADDRESS", "local") if address == "auto" else address


def _check_resources(config: Config) -> None:
    if config.cluster.autoscaling:
        return  # the cluster grows to the size that the run needs
    have = ray.cluster_resources()
    _check_gpus(config, int(have.get("GPU", 0)), "this Ray cluster")
    cpus = sum(role.count * role.num_cpus for role in role_plans(config))
    if cpus > have.get("CPU", 0):
        raise ConfigError(
            "learner.num_workers",
            config.learner.num_workers,
            f"these processes ask for {cpus:g} CPUs, this Ray cluster has {have.get('CPU', 0):g}",
            "Lower the largest number",
            also={
                "rollout.num_workers": config.rollout.num_workers,
                "cluster.num_prompt_workers": config.cluster.num_prompt_workers,
                "cluster.num_reward_workers": config.cluster.num_reward_workers,
            },
        )
    _check_node_labels(config, ray.nodes())


def _check_gpus(config: Config, have: int, where: str) -> None:
    needed = gpus_needed(config)
    if needed > have:
        raise ConfigError(
            "learner.num_workers",
            config.learner.num_workers,
            f"the run needs {needed} GPU(s), {where} has {have}",
            "Lower them, join a larger cluster with cluster.address, or set cluster.device=cpu",
            also={"rollout.num_workers": config.rollout.num_workers},
        )


def _check_node_labels(config: Config, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a run whose processes do not fit the labelled nodes. They would wait for such nodes until they time out.

    Args:
        nodes: as from ray.nodes(), with Alive, Labels and Resources.
    """
    for label, asking in _roles_by_label(config).items():
        labelled = [
            node["Resources"] for node in nodes if node["Alive"] and node["Labels"].get(NODE_LABEL) == label
        ]
        for resource, each in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
            needed = sum(role.count * getattr(role, each) for role in asking)
            have = sum(resources.get(resource, 0) for resources in labelled)
            if needed > have + 1e-6:  # sums of CPU shares have rounding errors
                raise ConfigError(
                    "cluster.node_labels",
                    True,
                    f"{' and '.join(role.name for role in asking)} ask for {needed:g} {resource}(s) on nodes labelled "
                    f"{NODE_LABEL}={label}, and those of this Ray cluster have {have:g}",
                    f"Start some with `ray start --labels {NODE_LABEL}={label}`, or set cluster.node_labels=false",
                )


def _roles_by_label(config: Config) -> dict[str, list[RolePlan]]:
    found: dict[str, list[RolePlan]] = {}
    for role in role_plans(config):
        if role.node_labels:
            found.setdefault(role.node_labels[NODE_LABEL], []).append(role)
    return found
