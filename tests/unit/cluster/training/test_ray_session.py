"""Tests of the Ray session: a cluster with too few resources on its labelled nodes is refused at once."""

from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.config.errors import ConfigError
from cluster.config.load import load_config
from cluster.training.placement import NODE_LABEL
from cluster.training.ray_session import _check_node_labels, allow_slow_start

CONFIGS = Path(__file__).parents[4] / "configs"


def node(label: str, *, cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    """Return an entry of ray.nodes()."""
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return {"Alive": alive, "Labels": {NODE_LABEL: label} if label else {}, "Resources": resources}


ENOUGH = [node("", cpus=8), node("learner", cpus=4, gpus=4), node("rollout", cpus=2, gpus=2),
          node("rollout", cpus=2, gpus=2), node("cpu", cpus=10)]  # fmt: skip


def check(nodes: list[dict[str, Any]], *overrides: str) -> None:
    """Check nodes for the 8B configuration: 4 ranks, 4 rollout workers, 8 prompt workers and 2 reward workers."""
    config = load_config(CONFIGS / "qwen3-vl-8b.yaml", ["cluster.node_labels=true", *overrides])
    _check_node_labels(config, nodes)


def test_enough_labelled_nodes_are_accepted() -> None:
    check(ENOUGH)
    check([node("", cpus=1)], "cluster.node_labels=false")


def test_shares_of_a_cpu_may_fill_a_node_exactly() -> None:
    nodes = [node("learner", cpus=1), node("rollout", cpus=1), node("cpu", cpus=1)]
    config = load_config(CONFIGS / "demo.yaml", ["cluster.node_labels=true", "cluster.num_prompt_workers=9"])
    _check_node_labels(config, nodes)  # 9 + 1 times 0.1


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (ENOUGH[:1] + ENOUGH[2:], "learner ask for 4 CPU(s) on nodes labelled videossr.io/role=learner, and those"),
        (ENOUGH[:3] + ENOUGH[4:], "rollout ask for 4 CPU(s) on nodes labelled videossr.io/role=rollout"),
        (ENOUGH[:4], "prompts and rewards ask for 10 CPU(s) on nodes labelled videossr.io/role=cpu"),
        ([*ENOUGH[2:], node("learner", cpus=4)], "learner ask for 4 GPU(s)"),
        ([*ENOUGH[2:], node("learner", cpus=4, gpus=4, alive=False)], "those of this Ray cluster have 0."),
    ],
)  # fmt: skip
def test_too_few_labelled_nodes_are_refused(nodes: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(nodes)
    assert words in str(refused.value)
    assert "`ray start --labels videossr.io/role=" in str(refused.value)


def test_a_local_cluster_may_start_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def get_node(gcs_address: str, node_id: str) -> dict[str, str]:
        calls.append((gcs_address, node_id))
        if len(calls) < 3:
            raise RuntimeError("the node is not registered")
        return {"node": node_id}

    monkeypatch.setattr(ray._private.services, "get_node", get_node)  # ray.init calls it by this name
    allow_slow_start()
    allow_slow_start()  # a second call wraps nothing
    assert ray._private.services.get_node("address", "id") == {"node": "id"}
    assert calls == [("address", "id")] * 3
