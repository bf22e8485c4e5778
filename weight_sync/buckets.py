"""Packing parameters into buckets: few large messages instead of many small ones. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

_ALIGNMENT_BYTES = 64  # one cache line, which suits every dtype and keeps vector loads within one line


@dataclass(frozen=True)
class BucketEntry:
    """One parameter's place in its bucket."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the bucket

    @property
    def num_bytes(self) -> int:
        """Size of the parameter."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, memory: torch.Tensor) -> torch.Tensor:
        """Return the parameter as a view of `memory`, the bucket's bytes as [num_bytes] uint8."""
        return memory[self.offset : self.offset + self.num_bytes].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Bucket:
    """Parameters that are sent as one message of `num_bytes`."""

    entries: tuple[BucketEntry, ...]
    num_bytes: int


def plan_buckets(
    parameters: Iterable[tuple[str, torch.dtype, Sequence[int]]], bucket_bytes: int
) -> list[Bucket]:
    """Cut a sequence of (name, dtype, shape) into buckets of at most `bucket_bytes`, in order.

    A parameter is never cut: one larger than `bucket_bytes` gets its own bucket. Sender and receiver plan from the
    same sequence, so the plan itself is not sent.
    """
    buckets: list[Bucket] = []
    entries: list[BucketEntry] = []
    end = 0
    for name, dtype, shape in parameters:
        offset = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        entry = BucketEntry(name, dtype, tuple(shape), offset)
        if entries and offset + entry.num_bytes > bucket_bytes:
            buckets.append(Bucket(tuple(entries), end))
            entries, entry = [], BucketEntry(name, dtype, tuple(shape), 0)
        entries.append(entry)
        end = entry.offset + entry.num_bytes
    if entries:
        buckets.append(Bucket(tuple(entries), end))
    return buckets
