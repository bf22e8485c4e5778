"""What is wrong with a setting, an option or a file, as data, and its one rendering as text."""

import difflib
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class _NoValue(Enum):
    """The type of NO_VALUE. A member of an enumeration stays the same object when it is pickled."""

    NO_VALUE = "no value"


NO_VALUE: Any = _NoValue.NO_VALUE  # value of a problem that is not about a value

_LONGEST_VALUE = 120  # characters


@dataclass(frozen=True)
class Problem:
    """One refused setting, option or file. Its text is `name=value: rule. Fix.`, on one line."""

    name: str  # dotted name of a setting, an option with its dashes, or a path
    value: Any  # refused value, or NO_VALUE
    rule: str  # rule that the value breaks, as the rest of a sentence
    fix: str = ""  # what the user can do about it, as one or more sentences
    also: Mapping[str, Any] = field(default_factory=dict)  # further settings that the rule is about

    def __str__(self) -> str:
        named = {self.name: self.value} | dict(self.also)
        subject = ", ".join(
            name if value is NO_VALUE else f"{name}={_shown(name, value)}"
            for name, value in named.items()
            if name
        )
        rule = f"{subject}: {self.rule}" if subject else self.rule
        return " ".join(_ended(sentence) for sentence in (rule, self.fix) if sentence)


def did_you_mean(name: str, known: Collection[str], section: str = "") -> str:
    """Return the question whether `name` should be the most similar known name, or "" if none is similar.

    Args:
        section: dotted name of the section of the known names.
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {section}{'.' if section else ''}{close[0]}?" if close else ""


def _ended(sentence: str) -> str:
    """Return `sentence` with a full stop, unless it has an end already."""
    return sentence if sentence.endswith((".", "?", "!")) or "\n" in sentence else f"{sentence}."


def _shown(name: str, value: Any) -> str:
    """Return the value of an option as it is typed, of a setting as Python writes it; both ends of a long one."""
    if name.startswith("-"):
        text = shlex.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    else:
        text = repr(value)
    half = _LONGEST_VALUE // 2
    return text if len(text) <= _LONGEST_VALUE else f"{text[:half]}...{text[-half:]}"
