"""Packing a checkout for a Ray job: all files that git does not ignore, except videos, and the configuration."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.config.errors import ConfigError
from pretext.video.sources import SUFFIXES
from vocabulary.problems import NO_VALUE
from vocabulary.text import first_line

ROOT = Path(__file__).resolve().parents[2]
MAX_SENT_BYTES = 64 * 2**20
_NAMED_FOLDERS = 3  # number of the largest folders that an error names
# Never packed, even if git does not ignore them. Ray would apply a packed .gitignore a second time.
_NEVER_PACKED = frozenset({".venv", "venv", "node_modules", "__pycache__", ".gitignore", ".rayignore"})
_NEVER_PACKED_AT_TOP = "runs"  # the folder of runs; cluster/runs is code


@contextmanager
def pack_checkout(
    text: str, name: str, *, file: Path | None = None, root: Path = ROOT
) -> Iterator[tuple[Path, str]]:
    """Yield a temporary folder to send, and the path of the configuration in it.

    Without a checkout (videossr is installed as a package) the folder holds only the configuration, and the cluster
    uses its own videossr.

    Args:
        text: the configuration.
        name: name for the configuration's file, if `file` is not a part of the checkout.
        file: file that `text` was read from, or None.

    Raises:
        ConfigError: the checkout is too large to send, or git cannot list its files.
    """
    with TemporaryDirectory(prefix="videossr-") as scratch:
        folder = Path(scratch)
        files = files_to_send(root) if (root / ".git").exists() else []
        for path in files:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target)
        inside = _relative_path(file, root)
        config = inside if inside is not None and inside in files else Path("submitted") / f"{name}.yaml"
        (folder / config).parent.mkdir(parents=True, exist_ok=True)
        (folder / config).write_text(text, encoding="utf-8")
        yield folder, str(config)


def files_to_send(root: Path) -> list[Path]:
    """Return the paths to pack, relative to `root`. Raises ConfigError if they are too large together."""
    paths = [path for path in _known_to_git(root) if _is_packed(root, path)]
    sizes = {path: (root / path).stat().st_size for path in paths}
    if sum(sizes.values()) > MAX_SENT_BYTES:
        raise _too_large(root, sizes)
    return paths


def _known_to_git(root: Path) -> list[Path]:
    """Return the paths of files that are tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise ConfigError(
            str(root),
            NO_VALUE,
            f"git cannot list the files to send ({first_line(os.fsdecode(said))})",
            "Fix that, or use `ray job submit`",
        ) from None
    return sorted({Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name})


def _is_packed(root: Path, path: Path) -> bool:
    if path.parts[0] == _NEVER_PACKED_AT_TOP or _NEVER_PACKED & set(path.parts):
        return False
    if path.suffix.lower() in SUFFIXES:
        return False
    # git also lists deleted files, symbolic links and nested repositories.
    return (root / path).is_file() and not (root / path).is_symlink()


def _relative_path(file: Path | None, root: Path) -> Path | None:
    """Return `file` relative to `root`; None if it is not below `root`."""
    if file is None or not file.resolve().is_relative_to(root):
        return None
    return file.resolve().relative_to(root)


def _too_large(root: Path, sizes: dict[Path, int]) -> ConfigError:
    folders: Counter[str] = Counter()
    for path, size in sizes.items():
        folders[f"{path.parts[0]}/" if len(path.parts) > 1 else path.name] += size
    largest = ", ".join(f"{name} {_mib(size)}" for name, size in folders.most_common(_NAMED_FOLDERS))
    return ConfigError(
        str(root),
        NO_VALUE,
        f"has {_mib(sum(sizes.values()))} to send, and {_mib(MAX_SENT_BYTES)} is the most ({largest})",
        "Name in .gitignore what the cluster does not need; videos belong on storage that it reaches",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def config_files(roots: Sequence[Path] = (ROOT, Path())) -> dict[str, Path]:
    """Return the files configs/*.yaml by name without suffix, of the checkout or else of the working folder."""
    for root in roots:
        if found := {path.stem: path for path in sorted((root / "configs").glob("*.yaml"))}:
            return found
    return {}
