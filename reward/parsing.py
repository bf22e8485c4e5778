r"""Completions to numbers: one strict form per task, and None for everything else.

The whole completion must have the form, except that ASCII whitespace around it is dropped. Prose, signs, exponents,
digits of other scripts and numbers of absurd length are refused. The patterns use `[0-9]` because `\d` and
`str.isdigit` also match digits such as "٣".
"""

import re
from collections.abc import Sequence

_ASCII_WHITESPACE = " \t\n\r\v\f"
_MAX_LENGTH_CHARACTERS = 32  # the longest form, an order of 12 clips, needs 26
_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,3})?)"
_INTERVAL = re.compile(rf"{_NUMBER}-{_NUMBER}")
_COUNTS = re.compile(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})")
_ORDER = re.compile(r"[1-9]{2,9}")
MAX_CLIPS = 12
_LONG_ORDER = re.compile(rf"[1-9][0-9]?(?:,[1-9][0-9]?){{9,{MAX_CLIPS - 1}}}")


def parse_interval(text: str) -> tuple[float, ...] | None:
    """Parse `start-end` in seconds, with the start first: "3.5-7" is (3.5, 7.0), and "7-3.5" is None."""
    match = _match(_INTERVAL, text)
    if match is None:
        return None
    start, end = (float(number) for number in match.groups())
    return (start, end) if start < end else None


def parse_counts(text: str) -> tuple[int, ...] | None:
    """Parse `circles,squares,triangles`: "2,0,1" is (2, 0, 1)."""
    match = _match(_COUNTS, text)
    return None if match is None else tuple(int(number) for number in match.groups())


def parse_order(text: str) -> tuple[int, ...] | None:
    """Parse the numbers 1 to k, each once: "2413" is (2, 4, 1, 3), and "2213" is None. Ten or more need commas."""
    match = _match(_ORDER, text)
    if match is not None:
        order = tuple(int(digit) for digit in match.group())
    else:
        match = _match(_LONG_ORDER, text)
        if match is None:
            return None
        order = tuple(int(number) for number in match.group().split(","))
    return order if sorted(order) == list(range(1, len(order) + 1)) else None


def write_order(order: Sequence[int]) -> str:
    """Write an order in the form that `parse_order` reads."""
    return ("" if len(order) < 10 else ",").join(map(str, order))


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    stripped = text.strip(_ASCII_WHITESPACE)
    return pattern.fullmatch(stripped) if len(stripped) <= _MAX_LENGTH_CHARACTERS else None
