"""What configurations over HTTP may say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from cluster.config import Config
from dashboard.config_rules import ConfigRefused, check_config, check_overrides

ROOT = Path(__file__).parents[3]
ROOTS = ("/videos", "s3://bucket/clips", "Qwen")


def check(text: str) -> None:
    check_config(text, roots=ROOTS, runs_dir="/srv/runs")


def override(*texts: str) -> None:
    check_overrides(texts, roots=ROOTS, runs_dir="/srv/runs")


def test_the_demo_is_taken() -> None:
    check((ROOT / "configs/demo.yaml").read_text())


@pytest.mark.parametrize(
    "text",
    [
        "reward: {function: 'os:system'}",
        "reward.function: 'os:system'",
        "rollout: {vllm_args: {worker_cls: 'x.y'}}",
        "cluster: {address: 'ray://elsewhere:10001'}",
        "learner: {optimizer_class: x}",
        "grpo: {hooks: {loss_function: x}}",
        "plugins: [x]",
        "model: /videos",
        "[]: 1",
        "1: 2",
    ],
)
def test_code_and_commands_are_refused(text: str) -> None:
    with pytest.raises(ConfigRefused, match=r"cannot be set over HTTP|is not YAML"):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "model: {path: /etc}",
        "model: {path: Other/Model}",
        "model: {path: 'tiny:../x'}",
        "data: {videos: /videos/../etc}",
        "data: {videos: /videos/link/../b}",
        "data: {videos: /videosecrets}",
        "data: {videos: ~/videos}",
        "data: {videos: 's3://bucket/clips/../other'}",
        "data: {videos: 's3://bucket/clips::file:///etc'}",
        "data: {videos: 'file:///videos'}",
        "data: {videos: [/etc]}",
        "data: {dataset: relative}",
        "runs_dir: /tmp",
        "runs_dir: drawn",
        "model: {path: drawn}",
    ],
)
def test_places_outside_the_roots_are_refused(text: str) -> None:
    with pytest.raises(ConfigRefused, match="outside the places that are open"):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "model: {path: Qwen/Qwen3-VL-8B-Instruct}",
        "model: {path: 'tiny:qwen3_vl'}",
        "data: {videos: /videos}",
        "data: {videos: /videos/a/b, dataset: null}",
        "data: {videos: 's3://bucket/clips/day1'}",
        "data: {videos: drawn, system_prompt: 'Answer: os.system, directly.'}",
        "runs_dir: /srv/runs/mine",
        "warmup: null",
        "{reward: {function: null}, rollout: {vllm_args: {}}}",
    ],
)
def test_harmless_ones_are_taken(text: str) -> None:
    check(text)


def test_every_problem_is_named() -> None:
    with pytest.raises(ConfigRefused) as raised:
        check("reward: {function: 'a:b'}\nmodel: {path: /etc}")
    assert [line.split("=")[0] for line in str(raised.value).splitlines()] == [
        "reward.function",
        "model.path",
    ]


def test_overrides_are_held_to_the_same() -> None:
    override("train.steps=10", "data.videos=/videos", "warmup=null", "train={steps: 3}")
    for text in (
        "reward.function=a:b",
        "reward={function: a:b}",
        "rollout={vllm_args: {a: 1}}",
        "data.videos=/etc",
    ):
        with pytest.raises(ConfigRefused, match="over HTTP"):
            override("train.steps=10", text)
    for text in ("train.steps", "=1"):
        with pytest.raises(ConfigRefused, match=r"dotted\.key=value"):
            override(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("name: " + "[" * 5000, "nested deeper"),
        ("name: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("name: [", "is not YAML"),
        ("- 1", "holds no settings"),
        ("", "holds no settings"),
        ("? {a: 1}\n: 2", "is not YAML"),
        ("name: 2026-99-99", "is not YAML"),
    ],
)
def test_yaml_that_harms_or_is_none(text: str, words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        check(text)


def test_of_all_settings_just_these_are_closed() -> None:
    """A new setting that names code or a place has to be thought about: it shows here."""
    closed = set()
    for name, value in leaves(Config):
        try:
            check_config(yaml.safe_dump({name: value}), roots=(), runs_dir="/srv")
        except ConfigRefused:
            closed.add(name)
    places = {
        "model.path",
        "data.dataset",
        "runs_dir",
        "bucket",
    }  # data.videos is `drawn` where nothing else is said
    assert closed == places | {"reward.function", "rollout.vllm_args", "cluster.address"}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from leaves(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", default if default else "x"
