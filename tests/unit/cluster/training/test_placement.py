"""Tests of placement: the resources that each role requests from Ray, and the memory estimate."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.config.load import build_config, load_config
from cluster.config.schema import Config
from cluster.training.placement import (
    NODE_LABEL,
    PUBLISHED,
    gpus_needed,
    learner_memory_gib,
    memory_problems,
    model_size,
    role_plans,
    rollout_memory_gib,
)

TinyFolder = Callable[[str], Path]
CONFIGS = Path(__file__).parents[4] / "configs"
SIZE = PUBLISHED["Qwen/Qwen3-VL-8B-Instruct"]
GIB = 2**30


def config(**sections: dict[str, Any]) -> Config:
    """Return the 8B configuration on separate GPUs, with changes to some sections."""
    tree: dict[str, Any] = {
        "learner": {"num_workers": 4, "zero_stage": 3},
        "rollout": {"num_workers": 4},
    }
    return build_config({name: tree.get(name, {}) | sections.get(name, {}) for name in {*tree, *sections}})


def test_gpus_needed() -> None:
    assert gpus_needed(config()) == 8
    assert gpus_needed(config(rollout={"num_workers": 2, "tensor_parallel_size": 4})) == 4 + 8
    assert gpus_needed(config(cluster={"placement": "shared"})) == 4
    cpu = {"learner": {"dtype": "float32"}, "rollout": {"dtype": "float32"}, "cluster": {"device": "cpu"}}
    assert gpus_needed(config(**cpu)) == 0
    assert {role.num_gpus for role in role_plans(config(**cpu))} == {0.0}


def test_separate_placement_gives_every_process_whole_gpus() -> None:
    by_name = {
        role.name: role for role in role_plans(config(rollout={"num_workers": 2, "tensor_parallel_size": 2}))
    }
    assert (by_name["learner"].count, by_name["learner"].num_gpus) == (4, 1)
    assert (by_name["rollout"].count, by_name["rollout"].num_gpus) == (2, 2)
    assert sum(role.count * role.num_gpus for role in by_name.values()) == 8
    assert by_name["prompts"].num_gpus == by_name["rewards"].num_gpus == 0


def test_a_shared_gpu_fits_one_engine_and_one_rank_but_not_two_engines() -> None:
    by_name = {role.name: role.num_gpus for role in role_plans(config(cluster={"placement": "shared"}))}
    assert by_name["rollout"] + by_name["learner"] == pytest.approx(1)
    assert 2 * by_name["rollout"] > 1
    # With two ranks on one GPU an engine would have no GPU. So an engine and one rank fill a GPU.
    assert by_name["rollout"] + 2 * by_name["learner"] > 1


def test_without_labels_a_process_may_run_on_any_node() -> None:
    assert all(role.node_labels == {} for role in role_plans(config()))


def test_each_role_asks_for_nodes_with_its_label() -> None:
    asked = {
        role.name: role.node_labels.get(NODE_LABEL)
        for role in role_plans(config(cluster={"node_labels": True}))
    }
    assert asked == {"learner": "learner", "rollout": "rollout", "prompts": "cpu", "rewards": "cpu",
                     "controller": None, "run log": None}  # fmt: skip


def test_engines_that_share_gpus_with_the_learner_ask_for_its_nodes() -> None:
    shared = {
        role.name: role for role in role_plans(config(cluster={"node_labels": True, "placement": "shared"}))
    }
    assert shared["rollout"].node_labels == shared["learner"].node_labels == {NODE_LABEL: "learner"}


def test_the_label_is_valid_in_ray_and_in_kubernetes() -> None:
    from ray._private.label_utils import validate_label_selector

    for role in role_plans(config(cluster={"node_labels": True})):
        assert validate_label_selector(dict(role.node_labels)) is None
        for text in role.node_labels.values():
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text)
    assert re.fullmatch(r"[a-z0-9.-]{1,253}/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", NODE_LABEL)


def test_the_demo_asks_for_at_most_one_cpu() -> None:
    assert sum(role.count * role.num_cpus for role in role_plans(load_config(CONFIGS / "demo.yaml"))) <= 1


def test_learner_memory_by_hand() -> None:
    # 8.77e9 parameters, bfloat16, 4 ranks, ZeRO-3; micro-batches of 16384 tokens, logits of 1024.
    parts = learner_memory_gib(config(), SIZE)
    assert parts["weights"] == pytest.approx(8.77e9 * 2 / 4 / GIB)
    assert parts["gradients"] == pytest.approx(8.77e9 * 2 / 4 / GIB)
    assert parts["optimiser"] == pytest.approx(8.77e9 * (4 + 4 + 4) / 4 / GIB)
    assert parts["reference"] == parts["weights"]
    assert parts["activations"] == pytest.approx(16384 * 4096 * 2 * (36 + 16) / GIB)
    assert parts["logits"] == pytest.approx(1024 * 151936 * 4 * 3 / GIB)


@pytest.mark.parametrize(
    ("change", "part", "factor"),
    [
        ({"learner": {"num_workers": 8}}, "weights", 1 / 2),
        ({"learner": {"zero_stage": 2}}, "weights", 4),
        ({"learner": {"zero_stage": 2}}, "gradients", 1),
        ({"learner": {"zero_stage": 1}}, "gradients", 4),
        ({"learner": {"zero_stage": 1}}, "optimiser", 1),
        ({"learner": {"num_workers": 1}}, "optimiser", 4),
        ({"learner": {"dtype": "float32"}}, "weights", 2),
        ({"learner": {"dtype": "float32"}}, "optimiser", 8 / 12),  # no separate master copy
        ({"grpo": {"kl_coef": 0}}, "reference", 0),
        ({"learner": {"max_micro_batch_tokens": 3 * 16384}}, "activations", 3),
        ({"data": {"max_prompt_tokens": 2 * 16384 - 2048}}, "activations", 2),  # one prompt exceeds the limit
        ({"rollout": {"max_tokens": 64}}, "logits", 1 / 2),
        ({"learner": {"lora": {"rank": 16}}}, "reference", 0),
        ({"learner": {"lora": {"rank": 16}}}, "gradients", 20 * 4096 * 36 * 16 / 8.77e9),
        ({"learner": {"offload": "optimizer"}}, "optimiser", 0),
        ({"learner": {"offload": "all"}}, "weights", 0),
        ({"learner": {"gradient_checkpointing": False}}, "activations", 36 * 16 / (36 + 16)),
    ],
)
def test_learner_memory_changes_with_each_setting(change: dict[str, Any], part: str, factor: float) -> None:
    before, after = learner_memory_gib(config(), SIZE), learner_memory_gib(config(**change), SIZE)
    assert after[part] == pytest.approx(before[part] * factor)


def test_rollout_memory_by_hand() -> None:
    parts = rollout_memory_gib(config(), SIZE)
    assert parts["weights"] == pytest.approx(8.77e9 * 2 / GIB)
    # Keys and values of 36 layers, 8 heads of 128, bfloat16, for 10240 tokens.
    assert parts["one full-length sequence"] == pytest.approx(2 * 36 * 8 * 128 * 2 * 10240 / GIB)
    halved = rollout_memory_gib(config(rollout={"tensor_parallel_size": 2}), SIZE)
    assert halved == {name: value / 2 for name, value in parts.items()}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_fit(path: Path) -> None:
    assert memory_problems(load_config(path)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learner": {"num_workers": 1}}, "learner: a rank is expected to take"),
        ({"learner": {"max_micro_batch_tokens": 10**6}}, "a smaller learner.max_micro_batch_tokens"),
        ({"cluster": {"gpu_memory_gib": 24}}, "a GPU has 24 (cluster.gpu_memory_gib)"),
        ({"rollout": {"gpu_memory_utilization": 0.2}}, "rollout.gpu_memory_utilization=0.2 of 80 GiB leaves 16"),
        ({"model": {"path": "Qwen/Qwen3-VL-32B-Instruct"}, "rollout": {"gpu_memory_utilization": 0.5}},
         "rollout.gpu_memory_utilization=0.5 of 80"),
        ({"cluster": {"placement": "shared"}, "rollout": {"gpu_memory_utilization": 0.85}},
         "cluster.placement='shared': the learner keeps 37 GiB while the engine takes 68 of 80. Lower "
         "rollout.gpu_memory_utilization to 0.52 or less."),
    ],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_refused_with_the_reason(change: dict[str, Any], words: str) -> None:
    problems = memory_problems(config(**change))
    assert any(words in problem for problem in problems), problems


def test_following_the_advice_of_a_refusal_works() -> None:
    def shared(share: float) -> Config:
        return config(cluster={"placement": "shared"}, rollout={"gpu_memory_utilization": share})

    (problem,) = memory_problems(shared(0.85))
    advised = float(problem.split(" to ")[-1].split()[0])
    assert memory_problems(shared(advised)) == []


def test_an_unknown_model_is_not_refused_for_its_memory() -> None:
    assert model_size("somebody/unheard-of-7b") is None
    assert memory_problems(config(model={"path": "somebody/unheard-of-7b"})) == []


@pytest.mark.parametrize("architecture", ["qwen3_vl", "qwen2_5_vl"])
def test_the_size_of_a_local_folder_is_read_from_its_config(
    tiny_folder: TinyFolder, architecture: str
) -> None:
    from transformers import AutoModelForImageTextToText

    folder = tiny_folder(architecture)
    size = model_size(str(folder))
    assert size is not None
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (size.layers, size.hidden, size.kv_heads, size.head_dim) == (3, 96, 1, 32)
