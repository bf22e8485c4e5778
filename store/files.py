"""Files under one address: a folder, or a bucket, which pyarrow reads and writes as in Ray Train."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# pyarrow's own errors are all subclasses of these.
FILE_ERRORS = (OSError, ValueError, NotImplementedError)


class Files:
    """The files under one address. Writes are atomic: a file appears only when it is complete.

    All methods raise one of FILE_ERRORS if the address cannot be reached.

    Args:
        address: a path, or s3://BUCKET/PREFIX, gs://..., abfs://..., file:///... Credentials and endpoints come from
            the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...).
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def is_remote(self) -> bool:
        """Whether this is a URL, not a path."""
        return "://" in self.address

    def below(self, name: str) -> "Files":
        """Return the files under `name`, relative to this address."""
        if not self.is_remote:
            return Files(str(Path(self.address, name)))
        parts = urlsplit(self.address)
        return Files(parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())

    def write(self, file: str, data: bytes) -> None:
        """Write `data` to `file`, a path relative to the address; folders are created as needed."""
        system, root = _file_system(self.address)
        path = f"{root}/{file}"
        if system.type_name != "local":  # an object appears when its stream is closed, and needs no folder
            with system.open_output_stream(path) as stream:
                stream.write(data)
            return
        system.create_dir(path.rpartition("/")[0], recursive=True)
        with system.open_output_stream(f"{path}.new") as stream:
            stream.write(data)
        system.move(f"{path}.new", path)

    def read(self, file: str, at_most: int | None = None) -> bytes:
        """Return the file's bytes, at most the first `at_most`. Raises FileNotFoundError."""
        system, root = _file_system(self.address)
        with system.open_input_file(f"{root}/{file}") as stream:
            data: bytes = stream.read(at_most)
            return data

    def names(self) -> list[str]:
        """Return the sorted paths of all files, at any depth, relative to the address; [] without such a folder."""
        from pyarrow.fs import FileSelector, FileType

        system, root = _file_system(self.address)
        found = system.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
        return sorted(entry.path.removeprefix(f"{root}/") for entry in found if entry.type == FileType.File)

    def download(self, folder: Path) -> None:
        """Copy all files to `folder`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        system, root = _file_system(self.address)
        copy_files(root, str(folder), source_filesystem=system, destination_filesystem=LocalFileSystem())


@lru_cache(maxsize=64)  # creating a file system asks the bucket for its region each time
def _file_system(address: str) -> tuple[Any, str]:
    """Return pyarrow's file system for an address, and the path in it."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in address:
        return LocalFileSystem(), address
    if address.startswith("s3://"):  # then a small file takes one request instead of three
        address += f"{'&' if '?' in address else '?'}allow_delayed_open=true"
    system, path = FileSystem.from_uri(address)
    return system, path.rstrip("/")


def check_bucket(address: str) -> str:
    """Return the address of a bucket without a trailing slash. Raises ValueError, with the fix, if it is not one."""
    if not re.fullmatch(r"[a-z][a-z0-9]*://[^\s#]+", address) or ".." in unquote(address).split("/"):
        raise ValueError("is not the address of a bucket. Write it as s3://BUCKET/PREFIX.")
    if ":" in urlsplit(address).netloc.rpartition("@")[0]:
        raise ValueError(
            "contains a password, which everyone who can see the run would see. Set it in the environment instead "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    return address.rstrip("/")
