"""The commands in the manifests exist, and their runs fit into the pods of the overlay."""

from typing import Any

import pytest

from cluster.cli.main import _parse
from cluster.config.load import load_config
from cluster.config.schema import Config
from cluster.training.placement import NODE_LABEL, RolePlan, memory_problems, role_plans
from dashboard.launching.config_rules import ConfigRules
from tests.unit.deploy.manifests import OVERLAYS, ROOT, Manifest, entry_points, overlay, ray_cluster_specs

IMAGE_TREE = "/opt/videossr/"


def configured(name: str) -> Config:
    """Return the configuration of the run that an overlay is sized for."""
    (words,) = [words for words in entry_points(overlay(name)) if words[1] == "train"]
    config_path, *rest = words[2:]
    assert config_path.startswith(IMAGE_TREE)
    overrides = [word for word in rest if not word.startswith("-")]
    return load_config(ROOT / config_path.removeprefix(IMAGE_TREE), overrides)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_entry_point_parses(name: str) -> None:
    for words in entry_points(overlay(name)):
        assert words[0] == "videossr"
        _parse(words[1:])


@pytest.mark.parametrize("name", OVERLAYS)
def test_configurations_load_with_the_overrides(name: str) -> None:
    config = configured(name)
    assert config.runs_dir == "/data/runs"
    assert memory_problems(config) == []
    mounted = [mount["mountPath"] for _, group in groups(name) for mount in worker(group)["volumeMounts"]]
    assert mounted.count("/data") == len(groups(name))


def test_the_page_of_the_shared_cluster_may_start_runs_of_our_configurations() -> None:
    (deployment,) = [each for each in overlay("multi-node") if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    roots = next(entry["value"] for entry in container["env"] if entry["name"] == "VIDEOSSR_ROOTS").split(",")
    rules = ConfigRules(Config, roots=roots, runs_dir="/data/runs")
    for path in (ROOT / "configs").glob("qwen*.yaml"):
        rules.check_config(path.read_text())
    rules.check_overrides(["data.videos=/data/videos", "runs_dir=/data/runs"])


def groups(name: str) -> list[tuple[str, Manifest]]:
    ((_, spec),) = ray_cluster_specs(overlay(name))
    return [(group["groupName"], group) for group in spec["workerGroupSpecs"]]


def worker(group: Manifest) -> Manifest:
    (container,) = group["template"]["spec"]["containers"]
    found: Manifest = container
    return found


def nodes(name: str) -> list[dict[str, Any]]:
    """Return label, CPUs and GPUs of each Ray node that an overlay's groups can grow to."""
    found = []
    for _, group in groups(name):
        limits = worker(group)["resources"]["limits"]
        node = {
            "label": group.get("labels", {}).get(NODE_LABEL),
            "cpus": float(limits["cpu"]),
            "gpus": float(limits.get("nvidia.com/gpu", 0)),
        }
        found += [dict(node) for _ in range(group["maxReplicas"])]
    return found


def place(role: RolePlan, free: list[dict[str, Any]]) -> bool:
    """Reserve resources for one process; return whether there were enough."""
    for node in free:
        fits = node["cpus"] >= role.num_cpus - 1e-6 and node["gpus"] >= role.num_gpus - 1e-6
        if fits and role.node_labels.get(NODE_LABEL) in (None, node["label"]):
            node["cpus"] -= role.num_cpus
            node["gpus"] -= role.num_gpus
            return True
    return False


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_workers_have_room_for_every_process_of_the_run(name: str) -> None:
    free = nodes(name)
    for role in sorted(role_plans(configured(name)), key=lambda role: -role.num_gpus):
        for number in range(role.count):
            assert place(role, free), f"{name}: no room for {role.name} {number + 1} of {role.count}"
    assert sum(node["gpus"] for node in free) == 0  # no GPU is unused


def test_a_group_has_each_label_that_the_run_asks_for() -> None:
    asked = {
        role.node_labels[NODE_LABEL] for role in role_plans(configured("multi-node")) if role.node_labels
    }
    assert asked == {node["label"] for node in nodes("multi-node")} == {"learner", "rollout", "cpu"}


def test_the_shared_ray_cluster_starts_without_workers_and_the_run_expects_it() -> None:
    ((_, spec),) = ray_cluster_specs(overlay("multi-node"))
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"  # the first version with node labels
    for name, group in groups("multi-node"):
        assert (group["replicas"], group["minReplicas"]) == (0, 0), name
        assert group["maxReplicas"] > 0, name
    assert configured("multi-node").cluster.autoscaling
