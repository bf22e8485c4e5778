"""What a configuration that comes over HTTP may say. Pure.

Who may start runs from a browser may choose numbers and tasks; what code runs and which files are read is the choice
of whoever runs the server. So settings are closed unless they are known to be harmless.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

_OPEN = frozenset(
    {
        "name",
        "seed",
        "data",
        "rollout",
        "grpo",
        "learner",
        "train",
        "warmup",
        "evaluation",
        "cluster",
        "trackers",
    }
)
# Settings that say where something is.
_PLACES = frozenset({"model.path", "data.videos", "data.dataset", "runs_dir", "bucket"})
# Whatever has one of these words in its name may run code or open files, today or in a later version.
_CLOSED_WORDS = frozenset(
    {
        "address",
        "args",
        "class",
        "command",
        "dir",
        "env",
        "file",
        "folder",
        "function",
        "hook",
        "import",
        "kwargs",
    }
    | {"module", "path", "plugin", "script", "url"}
)
_DRAWN, _TINY = "drawn", re.compile(r"tiny:[a-z0-9_]+")
_DEEPEST = 12
_ASK = "Leave it out, or ask who runs this server to allow it (VIDEOSSR_ALLOW_ANY_CONFIG=1)."


class ConfigRefused(ValueError):
    """What a configuration over HTTP may not say, one line a problem."""


class _Loader(yaml.SafeLoader):
    """Plain values only, without aliases (a few lines of them unfold to billions) and without deep nesting."""

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
    if value is None or value == {}:
        return None  # names nothing: a whole configuration as a run stores it has such entries
    shown = f"{name[:80]}={repr(value)[:60]}"
    if name in _PLACES:
        if _allowed_place(name, value, (*roots, runs_dir) if name == "runs_dir" else roots):
            return None
        listed = ", ".join(roots) or "there are none"
        return f"{shown}: is outside the places that are open over HTTP (VIDEOSSR_ROOTS: {listed}). {_ASK}"
    parts = name.split(".")
    if parts[0] not in _OPEN or any(word in _CLOSED_WORDS for part in parts for word in part.split("_")):
        return f"{shown}: cannot be set over HTTP, because it can name code, a command or a place. {_ASK}"
    return None


def _allowed_place(name: str, value: Any, roots: Sequence[str]) -> bool:
    if not isinstance(value, str):
        return False
    if (name == "data.videos" and value == _DRAWN) or (name == "model.path" and _TINY.fullmatch(value)):
        return True
    return any(_is_below(value, root) for root in roots)


def _is_below(place: str, root: str) -> bool:
    """Whether `place`, a path or an address, is `root` or below it, by its letters alone."""
    if "::" in place or "\\" in place or ".." in place.split("/"):
        return False  # chained addresses and ways back up
    scheme, separator, path = place.rpartition("://")
    place = scheme + separator + posixpath.normpath(path)
    return place == root or place.startswith(f"{root}/")


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigRefused("\n".join(problems))
