"""What a configuration that comes over HTTP may say. Pure.

Who may start runs from a browser may choose numbers and tasks; what code runs, which files are read and where results
go is the choice of whoever runs the server. So settings are closed unless `dashboard.launching.open_settings` opens them.
"""

import difflib
import math
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from dashboard.launching.open_settings import (
    CHOICES,
    CLOSED,
    KNOWN,
    LARGEST,
    LARGEST_BY_TASK,
    LONGEST,
    PLACES,
    UNSET,
)

_DRAWN, _TINY = "drawn", re.compile(r"tiny:[a-z0-9_]+")
_DEEPEST = 12
_NUMBERS, _MOST_DIGITS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"), 40
_ASK = "ask who runs this server to allow it (VIDEOSSR_ALLOW_ANY_CONFIG=1)."


class ConfigRefused(ValueError):
    """What a configuration over HTTP may not say, one line a problem."""


class _Loader(yaml.SafeLoader):
    """Plain values only: no aliases (a few lines of them unfold to billions), no deep nesting, and no endless numbers
    (which Python refuses to write down again).
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ConfigRefused(
                "the configuration: YAML aliases (*name) are not taken over HTTP. Write them out."
            )
        if self.depth >= _DEEPEST:
            raise ConfigRefused(f"the configuration: is nested deeper than {_DEEPEST} levels. Flatten it.")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            raise ConfigRefused(
                f"the configuration: {node.value[:20]}... is a number of {len(node.value)} digits. Shorten it."
            )
        return node


def check_config(text: str, *, roots: Sequence[str], runs_dir: str) -> None:
    """Raise ConfigRefused if this YAML says what it may not.

    Args:
        roots: see Settings.roots.
        runs_dir: where this server's runs are, which may be named.
    """
    tree = _parse(text, "the configuration")
    if not isinstance(tree, dict):
        raise ConfigRefused("the configuration: holds no settings. Send YAML such as 'name: mine'.")
    _refuse(_problems(_leaves(tree), roots, runs_dir))


def check_overrides(overrides: Sequence[str], *, roots: Sequence[str], runs_dir: str) -> None:
    """Raise ConfigRefused if these `dotted.key=value` say what they may not."""
    problems = []
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator or not name:
            raise ConfigRefused(
                f"{override!r}: an override has the form dotted.key=value, as in train.steps=10."
            )
        value = _parse(text, name)
        problems += _problems(_leaves({name: value}), roots, runs_dir)
    _refuse(problems)


def _parse(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, ConfigRefused):
            raise
        raise ConfigRefused(f"{name}: is not YAML: {' '.join(str(error).split())[:200]}") from None


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything below `node`; an empty section is a leaf too."""
    if isinstance(node, dict) and (node or not name):
        for key, value in node.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _problems(leaves: Iterator[tuple[str, Any]], roots: Sequence[str], runs_dir: str) -> list[str]:
    return [problem for name, value in leaves if (problem := _problem(name, value, roots, runs_dir))]


def _problem(name: str, value: Any, roots: Sequence[str], runs_dir: str) -> str | None:
    """Why this may not be said; None: it may."""
    shown = f"{name[:80]}={repr(value)[:60]}"
    by_task = name.rpartition(".")[0]
    if name in LARGEST:
        return _of_size(value, LARGEST[name], shown, name)
    if by_task in LARGEST_BY_TASK:
        return _of_size(value, LARGEST_BY_TASK[by_task], shown, name)
    if name in LONGEST:
        return _of_length(value, LONGEST[name], shown, name)
    if name in CHOICES or value is None or value == {}:
        return None  # nothing to bound, or nothing said; what is not there at all is named by whoever starts the run
    if name in PLACES:
        return _at_place(name, value, roots, runs_dir, shown)
    if closed := next((key for key in CLOSED if name == key or name.startswith(f"{key}.")), None):
        if value == UNSET.get(closed):
            return None
        return f"{shown}: cannot be set over HTTP, because {CLOSED[closed]}. Leave it out, or {_ASK}"
    return f"{shown}: {_unknown(name)}"


def _of_size(value: Any, largest: float, shown: str, name: str) -> str | None:
    for number in value if isinstance(value, list) else [value]:
        # A text may be a number too: YAML reads 1e-6 as one, and the configuration takes it.
        if number is not None and not isinstance(number, int | float | str):
            return f"{shown}: is not a number. Set {name} to one of at most {largest:g}."
        if isinstance(number, str) and math.isnan(_number(number)):
            return f"{shown}: is not a number. Set {name} to one of at most {largest:g}."
        if not _number(number) <= largest:
            return f"{shown}: is not a number up to {largest:g}, the most over HTTP. Lower {name}, or {_ASK}"
    return None


def _number(value: float | str | None) -> float:
    """NaN where it is none; nothing said is 0."""
    try:
        return float(value or 0)
    except (ValueError, OverflowError):
        return math.nan


def _of_length(value: Any, longest: int, shown: str, name: str) -> str | None:
    if isinstance(value, str) and len(value) > longest:
        return f"{shown}: has {len(value)} characters; over HTTP {longest} are the most. Shorten {name}, or {_ASK}"
    return None  # what is no text at all the configuration refuses itself


def _at_place(name: str, value: Any, roots: Sequence[str], runs_dir: str, shown: str) -> str | None:
    """Runs may be written where this server's are, and nowhere else: roots hold what is read, and buckets."""
    own = name == "runs_dir"
    if _allowed_place(name, value, (runs_dir,) if own else roots):
        return None
    opened = f"its own runs: {runs_dir}" if own else f"VIDEOSSR_ROOTS: {', '.join(roots) or 'there are none'}"
    return f"{shown}: is outside the places that are open over HTTP ({opened}). Leave it out, or {_ASK}"


def _unknown(name: str) -> str:
    """What is wrong with a name that no table has: closed by that, and mistyped most likely."""
    if name in LARGEST_BY_TASK:
        return f"is a section with a number for each task. Set one, as {name}.grounding=1."
    below = sorted(known for known in KNOWN if known.startswith(f"{name}."))
    if below:
        return f"is a section of settings, not a value. Set one, as {', '.join(below[:3])}."
    close = difflib.get_close_matches(name[:80], KNOWN, n=1)
    if close:
        return f"there is no such setting. Did you mean {close[0]}?"
    return "there is no such setting. `videossr train --dry-run` prints them all."


def _allowed_place(name: str, value: Any, roots: Sequence[str]) -> bool:
    if not isinstance(value, str):
        return False
    if (name == "data.videos" and value == _DRAWN) or (name == "model.path" and _TINY.fullmatch(value)):
        return True
    return any(_is_below(value, root) for root in roots)


def _is_below(place: str, root: str) -> bool:
    """Whether `place`, a path or an address, is `root` or below it, by its letters alone.

    An address may hold options (?endpoint_override=ELSEWHERE sends what is signed with the server's keys to another
    host), fragments, and signs written as numbers (%2e%2e is a way back up): none is taken.
    """
    if "::" in place or any(sign in place for sign in "\\?#%") or ".." in place.split("/"):
        return False  # chained addresses and ways back up
    scheme, separator, path = place.rpartition("://")
    place = scheme + separator + posixpath.normpath(path)
    return place == root or place.startswith(f"{root}/")


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigRefused("\n".join(problems))
