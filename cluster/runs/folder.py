"""The places of runs: the folder `runs/NAME/`, and a bucket for the large files of runs that use one."""

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.errors import ConfigError
from store.files import Files, check_bucket

if TYPE_CHECKING:
    from cluster.config.schema import Config

CONFIG_FILE = "config.yaml"
BUCKET_FILE = "bucket.txt"

_RAY_WORKING_COPY = "runtime_resources/working_dir_files"


def runs_folder(config: "Config") -> Path:
    """Return the folder that holds all runs.

    A Ray job runs in a copy of the checkout that Ray deletes afterwards, so there a relative `runs_dir` is below
    ~/videossr instead of the working folder.
    """
    base = Path.home() / "videossr" if in_ray_working_copy() else Path.cwd()
    return base / config.runs_dir


def default_runs_folder() -> str:
    """Return the folder in which commands look for runs if --runs is not given."""
    return os.environ.get("VIDEOSSR_RUNS") or "runs"


def find_folder(run: str) -> Path | None:
    """Return the folder of a run, given its folder or name, or None if there is no such run."""
    folders = (Path(run), Path(default_runs_folder()) / run)
    return next((folder for folder in folders if (folder / CONFIG_FILE).exists()), None)


def in_ray_working_copy() -> bool:
    """Return whether this process was started in the folder that Ray unpacked for a job."""
    return _RAY_WORKING_COPY in str(Path.cwd())


def bucket_setting(config: "Config") -> str | None:
    """Return the bucket that new runs of this configuration use: `config.bucket`, else VIDEOSSR_BUCKET; None: none.

    Raises:
        ConfigError: VIDEOSSR_BUCKET is not the address of a bucket.
    """
    given = os.environ.get("VIDEOSSR_BUCKET", "").strip()
    if config.bucket is not None or not given:
        return config.bucket
    try:
        return check_bucket(given)
    except ValueError as error:
        raise ConfigError("VIDEOSSR_BUCKET", given, str(error)) from None


def new_run_bucket(config: "Config") -> str | None:
    """Return the address for a new run's own part of the bucket; None if the run uses no bucket.

    The address is unique, because names are used again and others may use the same bucket.

    Raises:
        ConfigError: as `bucket_setting`.
    """
    bucket = bucket_setting(config)
    if bucket is None:
        return None
    part = f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    return Files(bucket).below(part).address


def run_bucket(folder: Path) -> str | None:
    """Return the run's own part of the bucket, which never changes, or None if the run uses no bucket."""
    try:
        return (folder / BUCKET_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def bulk_files(folder: Path) -> Files:
    """Return the place of the checkpoints and frames of the run in `folder`: its bucket, or `folder` itself."""
    return Files(run_bucket(folder) or str(folder.absolute()))
