"""Output of libraries, shortened for use in our own messages."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MAX_CHARACTERS = 300


def first_line(error: object) -> str:
    """Return the first line of a message without its full stop, or the type of an exception that has no message."""
    lines = _lines(error)
    return lines[0].rstrip(".") if lines else type(error).__name__


def last_line(error: object) -> str:
    """Return the last line of a message, which in an error from a Ray worker says what went wrong there."""
    lines = _lines(error)
    return lines[-1].strip() if lines else type(error).__name__


def one_line(error: object) -> str:
    """Return the beginning of a message on one line, because errors of object stores can be pages of XML."""
    return " ".join(str(error).split())[:_MAX_CHARACTERS]


def _lines(error: object) -> list[str]:
    return [line for line in _COLOUR.sub("", str(error)).strip().splitlines() if line.strip()]
