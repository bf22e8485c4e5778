"""docs/deploy.md names files, pods, settings and sizes that exist."""

import re

import pytest

from cluster.config.load import load_config
from cluster.config.schema import Config
from tests.unit.deploy.manifests import OVERLAYS, ROOT, of_kind, overlay, pods

GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_paths_exist() -> None:
    paths = set(re.findall(r"(?<![\w/.])(?:deploy|configs|vocabulary|docs)/[\w./-]+", GUIDE))
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path.rstrip(".")).exists(), path
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", GUIDE, re.MULTILINE)) == set(OVERLAYS)


@pytest.mark.parametrize("kind", ["rayjob", "raycluster", "svc", "deployment"])
def test_kubectl_commands_name_objects_that_exist(kind: str) -> None:
    made = {
        "rayjob": {"videossr-run"},
        "raycluster": {"videossr"},
        "svc": {
            "videossr-dashboard",
            "videossr-head-svc",
        },  # the operator creates the latter: <RayCluster>-head-svc
        "deployment": {"videossr-dashboard"},
    }[kind]
    named = set(re.findall(rf"\b{kind}[ /](videossr[\w-]*)", GUIDE))
    assert named == made
    manifests = [manifest for name in OVERLAYS for manifest in overlay(name)]
    kinds = {"rayjob": "RayJob", "raycluster": "RayCluster", "svc": "Service", "deployment": "Deployment"}
    there = {manifest["metadata"]["name"] for manifest in of_kind(manifests, kinds[kind])}
    assert named - {"videossr-head-svc"} <= there
    assert any(each.name == "RayCluster/videossr/head" for each in pods(overlay("multi-node")))


def test_settings_exist() -> None:
    known = load_config(ROOT / "configs" / "demo.yaml").model_dump()
    names = set(re.findall(r"\b((?:cluster|rollout|train|data)\.[a-z_]+)(?=[=`( ])", GUIDE))
    assert {"cluster.node_labels", "cluster.autoscaling", "rollout.start_timeout_s"} <= names
    for name in names:
        section, setting = name.split(".")
        assert setting in known[section], name
    assert f"`rollout.start_timeout_s` ({Config().rollout.start_timeout_s:g})" in GUIDE


def test_the_sizes_are_those_of_a_dry_run() -> None:
    from cluster.training.placement import (
        gpus_needed,
        learner_memory_gib,
        memory_problems,
        model_size,
        rollout_memory_gib,
    )

    cells = r"(\d+) \| (\d+)(?: of (\d) GPUs)? \| (\d+) \| (\d+) \| (\d+)"
    rows = re.findall(rf"^\| (Qwen[\w.-]+)[^|]*\| {cells} \|$", GUIDE, re.MULTILINE)
    assert len(rows) == 6
    for model, ranks, engines, parallel, gpus, rank_gib, engine_gib in rows:
        config = load_config(
            ROOT / "configs" / "qwen3-vl-8b.yaml",
            [f"model.path=Qwen/{model}-Instruct", f"learner.num_workers={ranks}", f"rollout.num_workers={engines}",
             f"rollout.tensor_parallel_size={parallel or 1}", f"learner.zero_stage={3 if int(ranks) > 1 else 2}"],
        )  # fmt: skip
        size = model_size(config.model.path)
        assert size is not None
        assert memory_problems(config) == []
        expected = (gpus_needed(config), sum(learner_memory_gib(config, size).values()),
                    sum(rollout_memory_gib(config, size).values()))  # fmt: skip
        assert [int(gpus), int(rank_gib), int(engine_gib)] == [round(value) for value in expected], model
