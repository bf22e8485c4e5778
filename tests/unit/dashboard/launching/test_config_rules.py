"""What a configuration that arrives over HTTP may set."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cluster.config.schema import Config, ModelConfig
from dashboard.launching.config_rules import ConfigRefused, ConfigRules
from dashboard.launching.open_settings import http_settings
from vocabulary.over_http import OverHttp

ROOT = Path(__file__).parents[4]
RULES = ConfigRules(Config, roots=("/videos", "s3://bucket/clips", "Qwen"), runs_dir="/srv/runs")


def check(text: str) -> None:
    RULES.check_config(text)


def override(*texts: str) -> None:
    RULES.check_overrides(texts)


def test_the_demo_is_accepted() -> None:
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
def test_a_closed_setting_is_refused_with_the_reason(text: str) -> None:
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
def test_an_unknown_setting_is_refused_with_a_suggestion(text: str, words: str) -> None:
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
def test_a_number_that_could_harm_the_machine_is_refused(text: str) -> None:
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
def test_a_value_that_is_not_a_number_is_refused(value: str) -> None:
    with pytest.raises(ConfigRefused, match=r"is not a number|no such setting"):
        override(f"train.steps={value}")


def test_long_texts_are_refused() -> None:
    check(f"name: {'a' * 100}\ndata: {{system_prompt: {'b' * 4000}}}")
    for name, longest in (("name", 100), ("data.system_prompt", 4000)):
        with pytest.raises(
            ConfigRefused, match=f"has {longest + 1} characters; the most over HTTP is {longest}"
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
def test_harmless_settings_are_accepted(text: str) -> None:
    check(text)


def test_every_problem_is_named() -> None:
    with pytest.raises(ConfigRefused) as raised:
        check("reward: {function: 'a:b'}\nmodel: {path: /etc}")
    assert [problem.name for problem in raised.value.problems] == ["reward.function", "model.path"]
    assert [line.split("=")[0] for line in str(raised.value).splitlines()] == [
        "reward.function",
        "model.path",
    ]


def test_overrides_follow_the_same_rules() -> None:
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
def test_harmful_yaml_and_what_is_not_yaml_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigRefused, match=words):
        check(text)


def test_every_setting_says_on_its_field_how_far_it_may_be_set() -> None:
    """A new setting is closed until its author has thought about it; this test names it."""
    fields = leaves(Config)
    assert http_settings(Config).keys() == fields.keys()
    unmarked = [name for name, field in fields.items() if not rules_of(field)]
    assert unmarked == [], "add OverHttp(...) to the annotation of these fields"
    assert [name for name, field in fields.items() if len(rules_of(field)) > 1] == []


def test_every_setting_is_open_as_its_field_says_or_refused() -> None:
    fields = leaves(Config)
    for name, setting in http_settings(Config).items():
        rule, kind = setting.rule, fields[name].annotation
        if rule.largest is not None:
            assert is_number(kind), name
            override(f"{name}={rule.largest:.17g}")
            with pytest.raises(ConfigRefused, match=f"{name}=.*is not a number up to"):
                override(f"{name}={rule.largest * 1.01:.17g}")
        elif rule.largest_by_task is not None:
            override(f"{name}.jigsaw=1")
        elif rule.longest is not None:
            assert kind is str, name
            override(f"{name}=a")
        elif rule.choice:
            assert is_choice(kind), name
            override(f"{name}=true")
        else:
            with pytest.raises(ConfigRefused, match="over HTTP"):
                override(f"{name}=/elsewhere")


def test_the_limits_are_these() -> None:
    """They guard a server: a changed one is changed here too."""
    rules = {name: setting.rule for name, setting in http_settings(Config).items()}
    assert {name for name, rule in rules.items() if rule.place} == {
        "model.path",
        "data.videos",
        "data.dataset",
        "runs_dir",
        "bucket",
    }
    assert {name for name, rule in rules.items() if rule.closed} == {
        "reward.function",
        "rollout.vllm_args",
        "cluster.address",
        "trackers",
    }
    assert rules["runs_dir"].place == "runs_dir"
    assert rules["grpo.group_size"].largest == 64
    assert rules["train.keep_checkpoints"].largest == 10
    assert rules["data.mix"].largest_by_task == 1e6


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigRefused, match="no such setting"):
        override("train.checkpoint_hook=os:system")


def test_a_field_without_a_rule_is_closed() -> None:
    class Section(BaseModel):
        hook: str = "none"
        extra: dict[str, str] = {}

    class WithNewField(BaseModel):
        train: Section = Section()

    rules = ConfigRules(WithNewField, roots=(), runs_dir="/srv/runs")
    for text in ("train.hook=os:system", "train={hook: x}", "train.extra.a=1", "train.extra={a: 1}"):
        with pytest.raises(ConfigRefused, match=r"cannot be set over HTTP, because its field does not say"):
            rules.check_overrides([text])
    rules.check_overrides(["train.hook=none"])  # its default


@pytest.mark.parametrize("rules", [{}, {"largest": 1, "longest": 1}, {"choice": True, "also": "x"}])
def test_a_field_gives_exactly_one_rule(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Give"):
        OverHttp(**rules)


def test_a_stored_configuration_may_be_started_again() -> None:
    tree = Config(model=ModelConfig(path="tiny:qwen3_vl"), runs_dir="/srv/runs").model_dump(mode="json")
    check(yaml.safe_dump(tree))


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return every setting's field by its dotted name, those of optional sections too."""
    found = {}
    for name, field in model.model_fields.items():
        options = get_args(field.annotation) or (field.annotation,)
        section = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        found |= leaves(section, f"{prefix}{name}.") if section else {f"{prefix}{name}": field}
    return found


def rules_of(field: FieldInfo) -> list[OverHttp]:
    return [each for each in field.metadata if isinstance(each, OverHttp)]


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


def test_the_refusal_says_that_a_value_is_not_a_number() -> None:
    with pytest.raises(ConfigRefused, match=r"train\.steps='abc': is not a number\. Set train\.steps to one"):
        override("train.steps=abc")
