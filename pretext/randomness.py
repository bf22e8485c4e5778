"""The one place where random generators are made."""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def generator(*words: str | int) -> np.random.Generator:
    """Return a generator that depends on `words` alone: the same in every process and on every platform.

    Different words give independent streams, for example `generator(7, "jigsaw")` and `generator(7, "counting")`.
    (Python's own `hash` of a string differs between processes.)
    """
    digest = hashlib.sha256("\x1f".join(str(word) for word in words).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


@lru_cache(maxsize=8)  # A million numbers take 8 MB and some milliseconds, and callers use one at a time.
def permutation(length: int, *words: str | int) -> NDArray[np.int64]:
    """Return 0 to `length` - 1 in a random order, [length], that depends on the arguments alone."""
    order = generator(*words).permutation(length)
    order.flags.writeable = False
    return order
