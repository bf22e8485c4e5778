"""Tests of the tree: what each package imports, the size of rooms, files and functions, and repeated class names."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import find_packages

from benchmarks import house

ROOT = Path(__file__).parents[2]


def import_table() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Read the table in AGENTS.md: what each package may import of ours, and of others."""
    rows = re.findall(
        r"^\| `(\w+)/` \| [^|]* \| ([^|]*) \| ([^|]*) \|$", (ROOT / "AGENTS.md").read_text(), re.M
    )
    tables = [{row[0]: set(re.findall(r"\w+", row[column])) for row in rows} for column in (1, 2)]
    return tables[0], tables[1]


OURS, OTHERS = import_table()
# Modules that vLLM loads into its own processes. Only these import vLLM at the top of the file.
VLLM_SIDE = {"rollout/logits.py", "weight_sync/gloo_transfer.py"}

PURE = [
    "reward",
    "pretext.stream",
    "pretext.scenes",
    "pretext.tasks",
    "learner.algorithm.advantages",
    "learner.modeling.attention",
    "learner.algorithm.loss",
    "learner.batch",
    "learner.config",
    "learner.modeling.policy_model",
    "learner.algorithm.parity",
    "learner.algorithm.schedule",
    "learner.commands",
    "weight_sync.rollout_client",
    "actors.config",
    "rollout.config",
    "rollout.prompt",
    "rollout.engine",
    "evaluation.metrics",
    "cluster.config.schema",
    "cluster.config.load",
]
HEAVY = {"ray", "vllm", "deepspeed"}
# These modules do not import torch either, so that an invalid configuration is refused at once.
WITHOUT_TORCH = {
    "reward",
    "pretext.stream",
    "learner.algorithm.advantages",
    "learner.config",
    "learner.algorithm.schedule",
    "learner.checkpoint",
    "learner.commands",
    "weight_sync.rollout_client",
    "actors.config",
    "actors.messages",
    "vocabulary.metrics",
    "rollout.prompt",
    "rollout.engine",
    "evaluation.metrics",
    "cluster.config.schema",
    "cluster.config.load",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(node: ast.AST, *, at_top: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield every import below `node` as (module, whether it runs when the file is imported, not in a call)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "use absolute imports: relative ones hide the package"
            yield child.module or "", at_top
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from imports(child, at_top=False)
        else:
            in_call = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, at_top=at_top and not in_call)


def imported(path: Path) -> set[tuple[str, bool]]:
    return {(name.split(".")[0], at_top) for name, at_top in imports(ast.parse(path.read_text()))}


def test_the_table_names_every_package() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert found <= set(OURS), f"a new package needs its line here and in the design: {found - set(OURS)}"


@pytest.mark.parametrize("package", OURS)
def test_packages_import_only_what_the_table_allows(package: str) -> None:
    allowed = OURS[package] | OTHERS[package] | {package, "vocabulary"} | sys.stdlib_module_names
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name, _ in imported(path)
        if name not in allowed
    }
    assert not wrong


def test_the_wheel_has_every_folder() -> None:
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    folders = {
        str(path.parent.relative_to(ROOT)).replace("/", ".") for package in OURS for path in modules(package)
    }
    assert folders == set(find_packages(str(ROOT), **include))


@pytest.mark.parametrize("room", house.rooms(ROOT))
def test_the_parts_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    assert not house.circle(ROOT, room)


def test_a_room_holds_about_nine_things() -> None:
    assert {room: size for room, size in house.rooms(ROOT).items() if size > 10} == {}


def test_files_and_functions_are_short_enough_to_read() -> None:
    files = [path for package in OURS for path in modules(package)]
    assert [path for path in files if len(path.read_text().splitlines()) > 500] == []
    assert [each for path in files for each in house.functions(path) if each.lines > 80] == []


def test_a_class_name_stands_for_one_thing() -> None:
    assert house.repeated_classes(ROOT) == {}


def test_vllm_is_imported_in_functions_only() -> None:
    wrong = {
        str(path.relative_to(ROOT))
        for package in OURS
        for path in modules(package)
        if ("vllm", True) in imported(path)
    }
    assert wrong == VLLM_SIDE


def test_learner_and_weight_sync_import_ray_in_functions_only() -> None:
    """Of the learner's modules, only the loop and the checkpoints may import Ray at all."""
    users = {
        (str(path.relative_to(ROOT)), at_top)
        for package in ("learner", "weight_sync")
        for path in modules(package)
        for name, at_top in imported(path)
        if name == "ray"
    }
    assert not any(at_top for _, at_top in users)
    assert {name for name, _ in users if name.startswith("learner")} <= {
        "learner/loop.py",
        "learner/checkpoint.py",
    }


def test_pure_packages_do_not_import_torch() -> None:
    for package in ("pretext", "reward", "evaluation"):
        assert not any(name == "torch" for path in modules(package) for name, _ in imported(path))


def test_pure_modules_load_no_heavy_package() -> None:
    # An interpreter for each module would take a minute. One checks all modules, a second those without torch.
    for names, forbidden in ((PURE, HEAVY), (sorted(WITHOUT_TORCH), HEAVY | {"torch", "transformers"})):
        code = (
            "import importlib, sys\n"
            f"for name in {names!r}:\n"
            "    importlib.import_module(name)\n"
            f"    found = {forbidden!r} & set(sys.modules)\n"
            "    assert not found, f'{name} imports {found}'\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
