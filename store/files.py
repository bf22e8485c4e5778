"""Files below one address: a folder's, or a bucket's as pyarrow reaches it, which is how Ray Train does too."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# What pyarrow raises: its own errors are all one of these.
TROUBLE = (OSError, ValueError, NotImplementedError)


class Files:
    """Files are written whole: none is there in part, and none before it is whole.

    Args:
        address: a path, or s3://BUCKET/PREFIX, gs://..., abfs://..., file:///... Credentials and endpoints are the
            surroundings' (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...).

    All methods raise one of TROUBLE where the address is out of reach.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def elsewhere(self) -> bool:
        """Whether this is an address, not a path."""
        return "://" in self.address

    def below(self, name: str) -> "Files":
        if not self.elsewhere:
            return Files(str(Path(self.address, name)))
        parts = urlsplit(self.address)
        return Files(parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())

    def write(self, file: str, data: bytes) -> None:
        system, root = _reached(self.address)
        path = f"{root}/{file}"
        if system.type_name != "local":  # an object is there when its stream is closed, and needs no folder
            with system.open_output_stream(path) as stream:
                stream.write(data)
            return
        system.create_dir(path.rpartition("/")[0], recursive=True)
        with system.open_output_stream(f"{path}.new") as stream:
            stream.write(data)
        system.move(f"{path}.new", path)

    def read(self, file: str, at_most: int | None = None) -> bytes:
        """Its bytes, the first `at_most`. Raises FileNotFoundError where there is none."""
        system, root = _reached(self.address)
        with system.open_input_file(f"{root}/{file}") as stream:
            data: bytes = stream.read(at_most)
            return data

    def names(self) -> list[str]:
        """All files, however deep, relative to the address and in order; none where there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        system, root = _reached(self.address)
        found = system.get_file_info(FileSelector(root, allow_not_found=True, recursive=True))
        return sorted(entry.path.removeprefix(f"{root}/") for entry in found if entry.type == FileType.File)

    def download(self, folder: Path) -> None:
        """Copy all files to `folder`."""
        from pyarrow.fs import LocalFileSystem, copy_files

        system, root = _reached(self.address)
        copy_files(root, str(folder), source_filesystem=system, destination_filesystem=LocalFileSystem())


@lru_cache(maxsize=64)  # a bucket's region is asked for each time
def _reached(address: str) -> tuple[Any, str]:
    """pyarrow's file system, and the path there."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" not in address:
        return LocalFileSystem(), address
    if address.startswith("s3://"):  # a small file is then one request instead of three
        address += f"{'&' if '?' in address else '?'}allow_delayed_open=true"
    system, path = FileSystem.from_uri(address)
    return system, path.rstrip("/")


def check_bucket(address: str) -> str:
    """The address of a bucket without a slash at its end. Raises ValueError, with what to write, where it is none."""
    if not re.fullmatch(r"[a-z][a-z0-9]*://[^\s#]+", address) or ".." in unquote(address).split("/"):
        raise ValueError("is no bucket's address. Write it as s3://BUCKET/PREFIX.")
    if ":" in urlsplit(address).netloc.rpartition("@")[0]:
        raise ValueError(
            "holds a password, which everyone who sees the run would see. Leave it to the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    return address.rstrip("/")
