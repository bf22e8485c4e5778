"""The images copy files that exist, hold everything they need, and run without privileges."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.unit.deploy.manifests import OVERLAYS, ROOT, entry_points, overlay

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = ("Dockerfile", "Dockerfile.cpu")
FIND = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
PACKAGES = find_packages(str(ROOT), **FIND)


def instructions(name: str) -> list[str]:
    """Return a Dockerfile's instructions in order, each on one line."""
    text = re.sub(r"\\\n\s*", " ", (DOCKER / name).read_text(encoding="utf-8"))
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def ignored(path: str) -> bool:
    """Return whether .dockerignore excludes `path`, which is relative to the checkout."""
    lines = [line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    parents = [str(parent) for parent in [Path(path), *Path(path).parents]][:-1]
    return any(
        fnmatch.fnmatch(parent, pattern) or fnmatch.fnmatch(f"/{parent}", pattern.replace("**/", "*/"))
        for pattern in patterns
        for parent in parents
    )


@pytest.mark.parametrize("name", DOCKERFILES)
def test_copied_files_exist(name: str) -> None:
    copies = [line.split()[1:-1] for line in instructions(name) if line.startswith("COPY ")]
    assert copies[-1] == ["."]
    for source in {source for sources in copies for source in sources}:
        assert (ROOT / source).exists(), source
        assert source == "." or not ignored(source), source


def test_an_image_holds_all_code_and_no_secret() -> None:
    needed = [f"{package.replace('.', '/')}/__init__.py" for package in PACKAGES]
    needed += [
        "configs/demo.yaml",
        "configs/qwen3-vl-8b.yaml",
        "deploy/cpu/install.sh",
        "README.md",
        "LICENSE",
    ]
    assert [path for path in needed if ignored(path)] == []
    for path in (".git/config", ".venv/bin/python", "runs/demo/config.yaml", "tests/conftest.py",
                 "deploy/k8s/ray.env", "tls.key", "reward/__pycache__/rules.pyc"):  # fmt: skip
        assert ignored(path), path


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_the_user_of_the_pods(name: str) -> None:
    lines = instructions(name)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    assert lines[-2:] == ["USER 1000:1000", 'ENTRYPOINT ["videossr"]']
    assert any("useradd --uid 1000" in line for line in lines)
    assert any("curl" in line and "wget" in line for line in lines if "apt-get install" in line)


@pytest.mark.parametrize("name", OVERLAYS)
def test_manifests_name_configurations_by_their_path_in_the_image(name: str) -> None:
    workdirs = {
        line.split()[1] for file in DOCKERFILES for line in instructions(file) if line.startswith("WORKDIR")
    }
    assert workdirs == {"/opt/videossr"}
    for words in entry_points(overlay(name)):
        for word in words:
            if word.endswith(".yaml"):
                assert (ROOT / Path(word).relative_to("/opt/videossr")).is_file(), word


def test_the_project_can_be_installed_before_its_code_is_copied(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text((ROOT / "pyproject.toml").read_text())
    subprocess.run([sys.executable, DOCKER / "empty_packages.py", project], check=True)
    made = {".".join(path.relative_to(tmp_path).parent.parts) for path in tmp_path.rglob("__init__.py")}
    assert made == {package for package in PACKAGES if "." not in package}
