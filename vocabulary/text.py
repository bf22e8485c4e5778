"""Shortening what a library or a program printed, for a sentence of ours."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300  # characters


def first_line(error: object) -> str:
    """Return the first line of a message, without its full stop; of an exception without a message its type."""
    lines = _lines(error)
    return lines[0].rstrip(".") if lines else type(error).__name__


def last_line(error: object) -> str:
    """Return the last line of a message: of an error from a Ray worker, what went wrong there."""
    lines = _lines(error)
    return lines[-1].strip() if lines else type(error).__name__


def one_line(error: object) -> str:
    """Return the beginning of a message on one line: object stores answer with pages of XML."""
    return " ".join(str(error).split())[:_LONGEST]


def _lines(error: object) -> list[str]:
    return [line for line in _COLOUR.sub("", str(error)).strip().splitlines() if line.strip()]
