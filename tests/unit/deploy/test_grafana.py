"""The Grafana dashboard draws the gauges that runs report, every one of them, and no other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.record.gauges import GAUGES, PROMETHEUS_PREFIX, gauge_of
from tests.unit.deploy.manifests import ROOT

# Ray's own, each node's and each GPU's.
RAYS = {
    "ray_node_cpu_utilization",
    "ray_node_mem_used",
    "ray_node_mem_total",
    "ray_node_gpus_utilization",
    "ray_node_gram_used",
    "ray_object_store_memory",
}


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (ROOT / "deploy" / "grafana" / "videossr.json").read_text(encoding="utf-8")
    )
    return found


def test_it_draws_every_gauge_and_no_other(board: dict[str, Any]) -> None:
    drawn = set(re.findall(r"ray_\w+", json.dumps(board)))
    ours = {name for name in drawn if name.startswith("ray_videossr")}
    assert ours == {PROMETHEUS_PREFIX + gauge.name for gauge in GAUGES.values()}
    assert drawn - ours == RAYS
    panels = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py"
    assert all(name in panels.read_text() for name in RAYS)  # Ray draws them itself


def test_queries_group_by_tags_that_the_gauges_have(board: dict[str, Any]) -> None:
    tags = {PROMETHEUS_PREFIX + gauge.name: {"run", gauge.tag} - {None} for gauge in GAUGES.values()}
    queries = [target for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(queries) >= len(GAUGES)
    for query in queries:
        name = re.search(r"ray_videossr\w+", query["expr"])
        if name is not None:
            grouped = re.search(r"by \(([\w, ]+)\)", query["expr"])
            assert grouped is not None
            assert set(grouped[1].split(", ")) == tags[name[0]], query["expr"]
            assert set(re.findall(r"{{(\w+)}}", query["legendFormat"])) == tags[name[0]], query["expr"]
            assert '{run=~"$run"}' in query["expr"]


def test_panels_have_places_and_numbers_of_their_own(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_a_metric_finds_its_gauge_and_its_tag() -> None:
    for metric, name, tags in (
        ("reward/mean", "videossr_reward_mean", {}),
        ("reward/jigsaw", "videossr_reward", {"task": "jigsaw"}),
        ("seconds/waited_for_groups", "videossr_seconds", {"phase": "waited_for_groups"}),
    ):
        found = gauge_of(metric)
        assert found is not None
        assert (found[0].name, found[1]) == (name, tags)
    for metric in ("prompt/tokens", "groups/drawn", "reward", "reward/", "nothing"):
        assert gauge_of(metric) is None


def test_names_are_ones_that_prometheus_takes() -> None:
    names = [gauge.name for gauge in GAUGES.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_the_metrics_named_are_ones_that_a_run_has() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for folder in ("actors", "learner") for path in (ROOT / folder).glob("*.py")
        if path.name != "gauges.py"
    )  # fmt: skip
    for metric in set(GAUGES) - {"step", "rollout/alive"}:  # which are set by the record itself
        assert f'"{metric}"' in code or f'f"{metric.rstrip("*")}{{' in code, metric
