"""A script that starts a Ray cluster with a node for the driver and one for each label, and reports where actors run.

Run as `python -m tests.integration.places FOLDER`, with Ray's folder and token in the environment. It writes
FOLDER/places.json and ends its cluster.
"""

import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from cluster.config.errors import ConfigError
from cluster.config.load import load_config
from cluster.config.schema import Config
from cluster.training.placement import NODE_LABEL, RolePlan, role_plans
from cluster.training.processes import actor, scaling
from cluster.training.ray_session import ray_session

ROOT = Path(__file__).parents[2]
# Number of CPUs of each node, by label. The driver's node has the most, so that processes without a label run there.
CPUS = {"": 8, "learner": 1, "rollout": 1, "cpu": 1}
_ACTORS_PER_ROLE = 2


class Place:
    """An actor that reports the node on which it runs."""

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


def demo(address: str, *overrides: str) -> Config:
    """Return the demo's configuration with two learner ranks and labelled nodes."""
    return load_config(
        ROOT / "configs" / "demo.yaml",
        [f"cluster.address={address}", "cluster.node_labels=true", "learner.num_workers=2", *overrides],
    )


def actor_nodes(role: RolePlan) -> set[str]:
    """Return the nodes on which actors of this role start."""
    places = [actor(Place, role).remote() for _ in range(_ACTORS_PER_ROLE)]
    found = set(ray.get([place.node.remote() for place in places]))
    for place in places:
        ray.kill(place)
    return found


def rank_nodes(role: RolePlan, folder: Path) -> set[str]:
    """Return the nodes on which Ray Train starts this role's ranks."""
    from ray.train import RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def write_place() -> None:
        from ray.train import get_context

        (folder / f"rank{get_context().get_world_rank()}").write_text(Place().node())

    TorchTrainer(
        write_place, torch_config=TorchConfig(backend="gloo"), scaling_config=scaling(role),
        run_config=RunConfig(name="places", storage_path=str(folder)),
    ).fit()  # fmt: skip
    found = [path.read_text() for path in folder.glob("rank*")]
    assert len(found) == role.count
    return set(found)


def refusal(config: Config) -> str:
    """Return the error that the user sees instead of a run, or nothing if the run can start."""
    try:
        with ray_session(config):
            return ""
    except ConfigError as error:
        return str(error)


def main(folder: Path) -> None:
    cluster = Cluster()
    for label, cpus in CPUS.items():
        labels = {NODE_LABEL: label} if label else {}
        cluster.add_node(num_cpus=cpus, labels=labels, include_dashboard=False)
    config = demo(cluster.address)
    by_name = {role.name: role for role in role_plans(config)}
    with ray_session(config):
        label_of = {node["NodeID"]: node["Labels"].get(NODE_LABEL, "") for node in ray.nodes()}
        nodes = {name: actor_nodes(by_name[name]) for name in ("rollout", "prompts", "rewards")}
        nodes["learner"] = rank_nodes(by_name["learner"], folder)
        unlabelled = {
            role.name: role for role in role_plans(demo(cluster.address, "cluster.node_labels=false"))
        }
        nodes["rollout, not asking"] = actor_nodes(unlabelled["rollout"])
    found = {
        "nodes": sorted(label_of.values()),
        "places": {name: sorted({label_of[node] for node in ids}) for name, ids in nodes.items()},
        "refusal": refusal(demo(cluster.address, "cluster.num_prompt_workers=20")),
    }
    (folder / "places.json").write_text(json.dumps(found))
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
