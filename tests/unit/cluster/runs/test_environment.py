"""Tests that a run's record contains the commit of this code, or no commit."""

import subprocess
from pathlib import Path

import pytest

from cluster.runs.environment import COMMIT_ENV, commit_variable, environment

_SET_UP = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *_SET_UP, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(COMMIT_ENV, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "file").touch()
    git(folder, "add", "file")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_records_its_commit_and_whether_files_were_changed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = repository.with_name("link")
    link.symlink_to(repository)
    commit = git(repository, "rev-parse", "HEAD")
    for checkout in (repository, link):
        monkeypatch.setattr("cluster.runs.environment._CHECKOUT", checkout)
        found = environment()
        assert (found["git_commit"], found["git_dirty"]) == (commit, False)
    (repository / "file").write_text("changed")
    assert environment()["git_dirty"] is True
    assert commit_variable() == {COMMIT_ENV: f"{commit}+"}


def test_a_package_installed_inside_another_repository_does_not_record_that_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = repository / ".venv" / "lib" / "python3.11" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.setattr("cluster.runs.environment._CHECKOUT", installed)
    assert "git_commit" not in environment()
    assert commit_variable() == {}
    monkeypatch.setenv(COMMIT_ENV, "abc+")  # as in a container image
    assert (environment()["git_commit"], environment()["git_dirty"]) == ("abc", True)
