"""The Grafana dashboard draws all gauges in `vocabulary.metrics`, and no others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.unit.deploy.manifests import ROOT
from vocabulary.metrics import METRICS, PROMETHEUS_PREFIX, gauges

# Ray's own metrics of nodes and GPUs.
RAY_METRICS = {
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


def test_it_draws_every_gauge_and_no_others(board: dict[str, Any]) -> None:
    drawn = set(re.findall(r"ray_\w+", json.dumps(board)))
    ours = {name for name in drawn if name.startswith("ray_videossr")}
    assert ours == {PROMETHEUS_PREFIX + gauge.name for gauge in gauges()}
    assert drawn - ours == RAY_METRICS
    panels = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards/default_dashboard_panels.py"
    assert all(name in panels.read_text() for name in RAY_METRICS)  # Ray's own dashboards draw them too


def test_queries_group_by_the_labels_of_their_gauge(board: dict[str, Any]) -> None:
    labels = {PROMETHEUS_PREFIX + gauge.name: {"run", gauge.label} - {None} for gauge in gauges()}
    queries = [target for panel in board["panels"] for target in panel.get("targets", ())]
    assert len(queries) >= len(gauges())
    for query in queries:
        name = re.search(r"ray_videossr\w+", query["expr"])
        if name is not None:
            grouped = re.search(r"by \(([\w, ]+)\)", query["expr"])
            assert grouped is not None
            assert set(grouped[1].split(", ")) == labels[name[0]], query["expr"]
            assert set(re.findall(r"{{(\w+)}}", query["legendFormat"])) == labels[name[0]], query["expr"]
            assert '{run=~"$run"}' in query["expr"]


def test_a_panel_of_one_metric_has_its_title(board: dict[str, Any]) -> None:
    compared = 0
    for panel in board["panels"]:
        drawn = set(re.findall(r"ray_videossr\w+", json.dumps(panel.get("targets", ()))))
        titles = [
            each.title for each in METRICS if each.gauge and PROMETHEUS_PREFIX + each.gauge.name in drawn
        ]
        if len(titles) == 1:
            assert panel["title"] == titles[0]
            compared += 1
    assert compared >= 8


def test_panels_have_unique_numbers_and_do_not_overlap(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
