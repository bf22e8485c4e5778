"""How parameters are packed into buckets: few large messages instead of many small ones. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

_ALIGNMENT_BYTES = 64  # a cache line: any dtype can be viewed there, and vector loads do not straddle


@dataclass(frozen=True)
class Piece:
    """One parameter's place in its bucket. `offset` counts bytes from the bucket's start."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, memory: torch.Tensor) -> torch.Tensor:
        """The parameter in `memory`, the bucket's [num_bytes] uint8; nothing is copied."""
        return memory[self.offset : self.offset + self.num_bytes].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Bucket:
    """Parameters that travel as one message of `num_bytes`."""

    pieces: tuple[Piece, ...]
    num_bytes: int


def plan_buckets(
    parameters: Iterable[tuple[str, torch.dtype, Sequence[int]]], bucket_bytes: int
) -> list[Bucket]:
    """Cut a sequence of (name, dtype, shape) into buckets of at most `bucket_bytes`, in order.

    A parameter is never cut: one that is larger than `bucket_bytes` has a bucket of its own. Sender and
    receiver plan from the same sequence, so the plan itself need not travel.
    """
    buckets: list[Bucket] = []
    pieces: list[Piece] = []
    end = 0
    for name, dtype, shape in parameters:
        offset = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        piece = Piece(name, dtype, tuple(shape), offset)
        if pieces and offset + piece.num_bytes > bucket_bytes:
            buckets.append(Bucket(tuple(pieces), end))
            pieces, piece = [], Piece(name, dtype, tuple(shape), 0)
        pieces.append(piece)
        end = piece.offset + piece.num_bytes
    if pieces:
        buckets.append(Bucket(tuple(pieces), end))
    return buckets
