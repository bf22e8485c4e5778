"""Reading the pictures of recorded frames from a run's folder or bucket, and no other file."""

import os
import stat
import threading
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from store.files import FILE_ERRORS, Files

_CONTENT_TYPES = {".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
MAX_BYTES = 8 * 2**20
# A bucket that hangs blocks a thread for minutes. This limit leaves most of the server's 40 threads free.
_bucket_readers = threading.BoundedSemaphore(8)
_BUSY_TIMEOUT_S = 2.0


class FrameRefused(ValueError):
    """A picture that is not served. The message says why."""


class FramesBusy(RuntimeError):
    """A refusal because too many pictures are being read from buckets; a later request may succeed."""


def read_frame(folder: str, file: str) -> tuple[bytes, str]:
    """Return the picture `file` of a run, and its content type.

    Args:
        folder: folder of the run, as a path or a bucket address.
        file: path relative to the folder. A path or link that leads outside the folder is refused.

    Raises:
        FrameRefused: the file does not exist, or is not a picture of the run.
        FramesBusy: the bucket is slow and too many requests wait for it.
    """
    name = PurePosixPath(file)
    content_type = _CONTENT_TYPES.get(name.suffix.lower())
    if content_type is None:
        raise FrameRefused(f"{file!r}: is not a picture ({', '.join(_CONTENT_TYPES)}).")
    if name.is_absolute() or ".." in name.parts or "\\" in file or "\0" in file or "::" in file:
        raise FrameRefused(f"{file!r}: is outside the run's folder.")
    try:
        data = _read(folder, name)
    except FILE_ERRORS as error:
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
    if not _bucket_readers.acquire(timeout=_BUSY_TIMEOUT_S):
        raise FramesBusy(
            f"{str(name)!r}: the bucket is too slow for this many pictures at once. Try again later."
        )
    try:
        return Files(address).read(str(name), MAX_BYTES + 1)  # buckets have no links
    finally:
        _bucket_readers.release()


def _from_disk(folder: Path, name: PurePosixPath) -> bytes:
    root = folder.resolve(strict=True)
    path = (root / name).resolve(strict=True)  # follows links
    if not path.is_relative_to(root):
        raise FrameRefused(f"{str(name)!r}: leads outside the run's folder.")
    # O_NONBLOCK: a pipe would block the thread forever. O_NOFOLLOW: a link may have replaced the file meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FrameRefused(f"{str(name)!r}: is not a file.")
        return opened.read(MAX_BYTES + 1)
