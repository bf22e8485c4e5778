"""The one place where random generators are made."""

import hashlib

import numpy as np


def generator(*words: str | int) -> np.random.Generator:
    """A generator that depends on `words` alone: the same in every process and on every platform.

    Different words give independent streams: `generator(7, "jigsaw")` and `generator(7, "counting")` share
    nothing. (Python's own `hash` of a string differs from process to process.)
    """
    digest = hashlib.sha256("\x1f".join(str(word) for word in words).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
