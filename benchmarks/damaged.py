"""Inspect two thousand damaged copies of real clips. None may crash or hang the builder, or affect other videos.

    python -m benchmarks.damaged --videos DIR [--count 2000] [--seed 0]

Copies are truncated, or have flipped bits, zeroed, removed or repeated blocks, or overwritten header bytes. Each is
inspected in a sandbox, as in the dataset builder. Prints how many were usable, and why the others were skipped.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from dataset.scan import scan
from pretext.video.frames import FrameSpec
from pretext.video.sources import find_videos

_HEADER_BYTES = 4096


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy of a file."""
    copy = bytearray(data)
    size = len(copy)
    start, length = int(rng.integers(size)), int(rng.integers(1, max(2, size // 8)))
    match int(rng.integers(6)):
        case 0:
            return bytes(copy[:start])
        case 1:
            for place in rng.integers(0, size, int(rng.integers(1, 200))):
                copy[place] ^= 1 << int(rng.integers(8))
        case 2:
            copy[start : start + length] = bytes(len(copy[start : start + length]))
        case 3:
            for place in rng.integers(0, min(size, _HEADER_BYTES), int(rng.integers(1, 20))):
                copy[place] = int(rng.integers(256))
        case 4:
            copy[start:start] = copy[start : start + length]
        case _:
            del copy[start : start + length]
    return bytes(copy)


def main() -> None:
    """Damage copies, inspect them and print the outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", required=True, help="folder of intact clips")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    originals = [Path(path) for path in find_videos(options.videos)]
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.count):
            original = originals[number % len(originals)]
            (Path(folder) / f"{number:05d}{original.suffix}").write_bytes(damage(original.read_bytes(), rng))
        started = time.monotonic()
        found = scan(folder, FrameSpec())
        seconds = time.monotonic() - started
    assert len(found.usable) + len(found.skipped) == options.count
    print(
        f"{options.count} damaged copies in {seconds:.0f} s: {len(found.usable)} usable, the others skipped:"
    )
    reasons = Counter(
        "".join("#" if sign.isdigit() else sign for sign in entry.reason) for entry in found.skipped
    )
    for reason, number in reasons.most_common():
        print(f"{number:6d}  {reason}")


if __name__ == "__main__":
    main()
