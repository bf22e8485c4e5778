"""Samples as webdataset shards: tar files in which the members of a sample share their name up to the first dot."""

import io
import json
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class ShardWriter:
    """A writer of FOLDER/shard-000000.tar and so on. The same samples give the same bytes.

    Args:
        samples_per_shard: number of samples in every shard except the last.
    """

    def __init__(self, folder: Path, samples_per_shard: int) -> None:
        self._folder = folder
        self._samples_per_shard = samples_per_shard
        self._num_written = 0
        self._open = ExitStack()
        self._shard: tarfile.TarFile | None = None

    def write(self, key: str, record: dict[str, Any], members: Sequence[tuple[str, bytes]]) -> None:
        """Write KEY.json with `record`, and KEY.NAME with its bytes for each (name, bytes) of `members`."""
        if self._num_written % self._samples_per_shard == 0:
            self._open.close()
            number = self._num_written // self._samples_per_shard
            path = self._folder / f"shard-{number:06d}.tar"
            # USTAR headers do not depend on the user or the time.
            self._shard = self._open.enter_context(tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT))
        self._num_written += 1
        assert self._shard is not None
        for name, content in [("json", json.dumps(record).encode()), *members]:
            member = tarfile.TarInfo(f"{key}.{name}")  # Its time, user and group are 0.
            member.size = len(content)
            self._shard.addfile(member, io.BytesIO(content))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
