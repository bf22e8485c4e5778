"""What configurations over HTTP may say."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from cluster.config.schema import Config, ModelConfig
from dashboard.launching.config_rules import ConfigRefused, check_config, check_overrides
from dashboard.launching.open_settings import (
    CHOICES,
    CLOSED,
    LARGEST,
    LARGEST_BY_TASK,
    LONGEST,
    OPEN,
    PLACES,
    UNSET,
)

ROOT = Path(__file__).parents[4]
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
        "rollout: {vllm_args: 1}",
        "cluster: {address: 'ray://elsewhere:10001'}",
        "trackers: [wandb]",
    ],
)
def test_what_is_closed_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(
        ConfigRefused, match=r"cannot be set over HTTP, because (it|they) .*ALLOW_ANY_CONFIG=1"
    ):
        check(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {step: 3}", r"train\.step=3: there is no such setting\. Did you mean train\.steps\?"),
        ("trian: {steps: 3}", r"trian\.steps=3: there is no such setting\. Did you mean train\.steps\?"),
        (
            "train: {steps: {a: 3}}",
            r"train\.steps\.a=3: there is no such setting\. Did you mean train\.steps\?",
        ),
        ("learner: {optimizer_class: x}", r"there is no such setting"),
        ("grpo: {hooks: {loss_function: x}}", r"there is no such setting"),
        ("plugins: [x]", r"plugins=\['x'\]: there is no such setting\. `videossr train --dry-run`"),
        ("1: 2", r"there is no such setting"),
        ("[]: 1", r"there is no such setting|is not YAML"),
        (
            "model: /videos",
            r"model='/videos': is a section of settings, not a value\. Set one, as model\.path\.",
        ),
        (
            "data: {mix: 5}",
            r"data\.mix=5: is a section with a number for each task\. Set one, as data\.mix\.",
        ),
    ],
)
def test_what_is_not_there_is_named_as_that(text: str, words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "data: {num_drawn: 10001}",
        "data: {num_drawn: '1_000_000'}",
        "data: {num_drawn: 1e9}",  # a text to YAML
        "data: {num_drawn_held_out: 2001}",
        "data: {frames: {num_frames: 258}}",
        "data: {frames: {max_pixels: 589825}}",
        "data: {grounding: {segment: [1, 1000000]}}",
        "data: {mix: {grounding: .inf}}",
        "data: {max_prompt_tokens: 131073}",
        "train: {steps: 100001}",
        "train: {steps: .nan}",
        "train: {steps: .inf}",
        "train: {steps: 0xffffffffff}",
        "train: {prompts_per_step: 1025}",
        "grpo: {group_size: 65}",
        "grpo: {task_weights: {jigsaw: 1001}}",
        "evaluation: {samples_per_task: 5001}",
        "rollout: {num_workers: 65}",
        "rollout: {max_tokens: 32769}",
        "learner: {num_workers: 65}",
        "cluster: {num_prompt_workers: 257}",
        "learner: {adam_betas: [0.9, 2]}",
    ],
)
def test_what_could_hurt_the_machine_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigRefused, match=r"is not a number up to .*Lower \S+, or ask .*ALLOW_ANY_CONFIG=1"
    ):
        check(text)
    tree, parts = yaml.safe_load(text), []
    while isinstance(tree, dict):
        ((key, tree),) = tree.items()
        parts.append(key)
    with pytest.raises(ConfigRefused, match="is not a number up to"):
        override(f"{'.'.join(parts)}={yaml.safe_dump(tree, default_flow_style=True)}")


@pytest.mark.parametrize("value", ["{2026-01-01: 1}", "2026-01-01", "[[5]]", "!!set {5}", "!!binary NTA="])
def test_what_is_no_number_is_none(value: str) -> None:
    with pytest.raises(ConfigRefused, match=r"is not a number|no such setting"):
        override(f"train.steps={value}")


def test_long_texts_are_refused() -> None:
    check(f"name: {'a' * 100}\ndata: {{system_prompt: {'b' * 4000}}}")
    for name, longest in (("name", 100), ("data.system_prompt", 4000)):
        with pytest.raises(
            ConfigRefused, match=f"has {longest + 1} characters; over HTTP {longest} are the most"
        ):
            override(f"{name}={'a' * (longest + 1)}")


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
        "runs_dir: /videos",  # a root, but not this server's runs
        "runs_dir: s3://bucket/clips",
        "bucket: 's3://bucket/clips/x?endpoint_override=evil.example.com&scheme=http'",
        "bucket: 's3://bucket/clips/mine#x'",
        "bucket: 's3://bucket/clips/%2e%2e/other'",
        "bucket: 's3://bucket/clips/%252e%252e/other'",
        "data: {videos: '/videos/%2e%2e/etc'}",
        "data: {videos: 's3://bucket/clips/x?endpoint_override=evil.example.com'}",
        "data: {dataset: 's3://bucket/clips/x#y'}",
        "model: {path: 'Qwen/%2e%2e/x'}",
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
        "bucket: s3://bucket/clips/checkpoints",
        "warmup: null",
        "{reward: {function: null}, rollout: {vllm_args: {}}}",
        "{cluster: {address: auto}, trackers: []}",
        "{learner: {learning_rate: 1e-6, lora: {rank: 8, layers: [mlp]}, max_logprob_gap: null}}",
        "{data: {mix: {grounding: 3, jigsaw: 1}, grounding: {segment: [2, 4], zoom_out: [1.333, 2.0]}}}",
        "{train: {steps: 100000, recorded_groups: 0}, grpo: {task_weights: {}, mask_truncated: true}}",
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
        (f"train: {{steps: 0x{'f' * 50_000}}}", "is a number of 50002 digits"),
        (f"train: {{steps: {'9' * 41}}}", "is a number of 41 digits"),
    ],
)
def test_yaml_that_harms_or_is_none(text: str, words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        check(text)


def test_every_setting_is_in_just_one_table() -> None:
    """A new setting has to be thought about: it shows here, and is closed until then."""
    tables = (LARGEST, LARGEST_BY_TASK, LONGEST, CHOICES, PLACES, CLOSED)
    assert sorted(name for table in tables for name in table) == sorted(leaves(Config))
    assert not OPEN & CLOSED.keys()
    assert set(UNSET) <= set(CLOSED)


def test_every_setting_is_open_as_its_table_says_or_refused() -> None:
    for name, kind in leaves(Config).items():
        if name in LARGEST:
            assert is_number(kind), name
            override(f"{name}={LARGEST[name]:.17g}")
            with pytest.raises(ConfigRefused, match=f"{name}=.*is not a number up to"):
                override(f"{name}={LARGEST[name] * 1.01:.17g}")
        elif name in LARGEST_BY_TASK:
            override(f"{name}.jigsaw=1")
        elif name in LONGEST:
            assert kind is str, name
            override(f"{name}=a")
        elif name in CHOICES:
            assert is_choice(kind), name
            override(f"{name}=true")
        else:
            with pytest.raises(ConfigRefused, match="over HTTP"):
                override(f"{name}=/elsewhere")


def test_a_setting_that_is_added_is_closed() -> None:
    with pytest.raises(ConfigRefused, match="no such setting"):
        override("train.checkpoint_hook=os:system")


def test_what_a_run_stored_may_be_started_again() -> None:
    tree = Config(model=ModelConfig(path="tiny:qwen3_vl"), runs_dir="/srv/runs").model_dump(mode="json")
    check(yaml.safe_dump(tree))


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every setting's dotted name and type, those of optional sections too."""
    found = {}
    for name, field in model.model_fields.items():
        options = get_args(field.annotation) or (field.annotation,)
        section = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        found |= leaves(section, f"{prefix}{name}.") if section else {f"{prefix}{name}": field.annotation}
    return found


def is_number(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return is_number(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return all(isinstance(value, int) for value in get_args(kind))
    parts = set(get_args(kind)) - {type(None)}
    return kind in (int, float) or (bool(parts) and all(map(is_number, parts)))


def is_choice(kind: Any) -> bool:
    if get_origin(kind) is tuple:
        kind, _ = get_args(kind)
    return kind is bool or get_origin(kind) is Literal


def test_what_is_no_number_is_called_so() -> None:
    with pytest.raises(ConfigRefused, match=r"train\.steps='abc': is not a number\. Set train\.steps to one"):
        override("train.steps=abc")
