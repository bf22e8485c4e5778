"""Pictures of sampled rollouts, out of a run's folder or bucket."""

import os
import stat
import threading
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from store.files import TROUBLE, Files

_TYPES = {".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
MAX_BYTES = 8 * 2**20
# A bucket that hangs keeps a reader for minutes, and must not take all of the server's threads (40).
_readers = threading.BoundedSemaphore(8)
_WAIT_S = 2.0


class FrameRefused(ValueError):
    """A picture that is not served, with the reason."""


class FramesBusy(RuntimeError):
    """As many pictures as may be are being read; this one may be had later."""


def read_frame(folder: str, file: str) -> tuple[bytes, str]:
    """The picture `file` of a run, and its content type.

    Args:
        folder: the run's, a path or a bucket's address.
        file: relative to it. Nothing outside the folder is read, whatever it says and links to.

    Raises:
        FrameRefused: there is none, or it is not a picture of the run.
        FramesBusy: the bucket is slow, and others wait for it.
    """
    name = PurePosixPath(file)
    content_type = _TYPES.get(name.suffix.lower())
    if content_type is None:
        raise FrameRefused(f"{file!r}: is no picture (of {', '.join(_TYPES)}).")
    if name.is_absolute() or ".." in name.parts or "\\" in file or "\0" in file or "::" in file:
        raise FrameRefused(f"{file!r}: is not inside the run's folder.")
    try:
        data = _read(folder, name)
    except TROUBLE as error:
        if isinstance(error, FrameRefused):
            raise
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise FrameRefused(
            f"{file!r}: cannot be read ({reason}). Was the run's folder or bucket moved or emptied?"
        ) from None
    if len(data) > MAX_BYTES:
        raise FrameRefused(f"{file!r}: is larger than {MAX_BYTES} bytes.")
    return data, content_type


def _read(folder: str, name: PurePosixPath) -> bytes:
    if folder.startswith("file://"):
        folder = unquote(urlsplit(folder).path)
    return _from_bucket(folder, name) if "://" in folder else _from_disk(Path(folder), name)


def _from_bucket(address: str, name: PurePosixPath) -> bytes:
    if not _readers.acquire(timeout=_WAIT_S):
        raise FramesBusy(
            f"{str(name)!r}: the bucket is too slow for as many pictures at once. Ask again later."
        )
    try:
        return Files(address).read(str(name), MAX_BYTES + 1)  # there are no links
    finally:
        _readers.release()


def _from_disk(folder: Path, name: PurePosixPath) -> bytes:
    root = folder.resolve(strict=True)
    path = (root / name).resolve(strict=True)  # where links lead
    if not path.is_relative_to(root):
        raise FrameRefused(f"{str(name)!r}: leads out of the run's folder.")
    # Not blocking, and not through a link that was put there since: a pipe would keep the server waiting for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FrameRefused(f"{str(name)!r}: is no file.")
        return opened.read(MAX_BYTES + 1)
