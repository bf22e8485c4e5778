"""What of a checkout goes to a cluster: everything that git would take, but no videos; and the configuration."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.config.load import ConfigError
from pretext.video.sources import SUFFIXES

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 64 * 2**20
_NAMED = 3  # of the folders that take most
# What never goes along, even where git does not know it; .gitignore itself, as Ray would apply it once more.
_LEFT_OUT = frozenset({"runs", ".venv", "venv", "node_modules", "__pycache__", ".gitignore", ".rayignore"})


@contextmanager
def packed(
    text: str, name: str, *, file: Path | None = None, root: Path = ROOT
) -> Iterator[tuple[Path, str]]:
    """A folder to send, for as long as the block lasts, and the path of the configuration in it.

    Where there is no checkout (videossr is installed as a package), the configuration goes alone, and the cluster's
    own videossr reads it.

    Args:
        text: the configuration.
        name: what to call it, unless `file` goes along as a part of the checkout.
        file: where `text` was read.

    Raises:
        ConfigError: the checkout is too large to send, or git does not answer.
    """
    with TemporaryDirectory(prefix="videossr-") as scratch:
        folder = Path(scratch)
        files = files_to_send(root) if (root / ".git").exists() else []
        for path in files:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target)
        inside = _inside(file, root)
        config = inside if inside is not None and inside in files else Path("submitted") / f"{name}.yaml"
        (folder / config).parent.mkdir(parents=True, exist_ok=True)
        (folder / config).write_text(text, encoding="utf-8")
        yield folder, str(config)


def files_to_send(root: Path) -> list[Path]:
    """Paths below `root`. Raises ConfigError if they are too large together."""
    paths = [path for path in _known_to_git(root) if _goes_along(root, path)]
    sizes = {path: (root / path).stat().st_size for path in paths}
    if sum(sizes.values()) > MOST_BYTES:
        raise ConfigError(_too_large(root, sizes))
    return paths


def _known_to_git(root: Path) -> list[Path]:
    """What is tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        reason = os.fsdecode(said).strip().splitlines()[0]
        raise ConfigError(
            f"{root}: git cannot list what to send ({reason}). Mend that, or use `ray job submit`."
        ) from None
    return sorted({Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name})


def _goes_along(root: Path, path: Path) -> bool:
    whole = root / path
    if _LEFT_OUT & set(path.parts) or path.suffix.lower() in SUFFIXES:
        return False
    return (
        whole.is_file() and not whole.is_symlink()
    )  # what was deleted, or is a repository of its own, is not


def _inside(file: Path | None, root: Path) -> Path | None:
    """`file` as a path below `root`; None where it is not."""
    if file is None or not file.resolve().is_relative_to(root):
        return None
    return file.resolve().relative_to(root)


def _too_large(root: Path, sizes: dict[Path, int]) -> str:
    folders: Counter[str] = Counter()
    for path, size in sizes.items():
        folders[f"{path.parts[0]}/" if len(path.parts) > 1 else path.name] += size
    largest = ", ".join(f"{name} {_mib(size)}" for name, size in folders.most_common(_NAMED))
    return (
        f"{root}: has {_mib(sum(sizes.values()))} to send, and {_mib(MOST_BYTES)} is the most ({largest}). Name in "
        ".gitignore what the cluster does not need; videos belong on storage that it reaches."
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def config_files(roots: Sequence[Path] = (ROOT, Path())) -> dict[str, Path]:
    """configs/*.yaml by name (without the ending), of the checkout or else of the working folder."""
    for root in roots:
        if found := {path.stem: path for path in sorted((root / "configs").glob("*.yaml"))}:
            return found
    return {}
