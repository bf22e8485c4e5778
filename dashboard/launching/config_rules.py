"""The check of a configuration that arrives over HTTP against the `OverHttp` rules of its settings. Pure.

`vocabulary/over_http.py` says what the rules are for. A setting without a rule is closed.
"""

import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from dashboard.launching.open_settings import http_settings
from vocabulary.over_http import OverHttp
from vocabulary.problems import NO_VALUE, Problem, did_you_mean

_CONFIGURATION = "the configuration"  # name of a problem that is about the whole YAML
_MAX_DEPTH = 12  # largest nesting of YAML
_MAX_DIGITS = 40  # longest number in YAML, characters
_MAX_SHOWN_NAME = 80  # characters of a setting's name in a refusal
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OR_ASK = "or ask the person who runs this server to allow it (VIDEOSSR_ALLOW_ANY_CONFIG=1)"

_Refusal = tuple[str, str]  # rule and fix of a Problem


class ConfigRefused(ValueError):
    """A configuration that sets something it may not. As text: one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ConfigRules:
    """The check of configurations that arrive over HTTP.

    Args:
        config_class: class of configurations, whose fields carry the rules.
        roots: folders and addresses that settings may name; see Settings.roots.
        runs_dir: this server's folder of runs, the only one that `runs_dir` may name.
    """

    def __init__(self, config_class: type[BaseModel], *, roots: Sequence[str], runs_dir: str) -> None:
        self._settings = http_settings(config_class)
        self._roots = {"roots": tuple(roots), "runs_dir": (runs_dir,)}

    def check_config(self, text: str) -> None:
        """Raise ConfigRefused if this YAML sets something it may not."""
        tree = _parse(text, _CONFIGURATION)
        if not isinstance(tree, dict):
            raise _refused(_CONFIGURATION, "holds no settings", "Send YAML such as 'name: mine'")
        _refuse_any(self._problems(tree))

    def check_overrides(self, overrides: Sequence[str]) -> None:
        """Raise ConfigRefused if one of these `dotted.key=value` sets something it may not."""
        problems: list[Problem] = []
        for override in overrides:
            name, separator, text = override.partition("=")
            if not separator or not name:
                raise _refused(
                    repr(override), "an override has the form dotted.key=value, as in train.steps=10"
                )
            problems += self._problems({name: _parse(text, name)})
        _refuse_any(problems)

    def _problems(self, tree: dict[Any, Any]) -> list[Problem]:
        found = ((name, value, self._refusal(name, value)) for name, value in _leaves(tree))
        return [Problem(name[:_MAX_SHOWN_NAME], value, *refusal) for name, value, refusal in found if refusal]

    def _refusal(self, name: str, value: Any) -> _Refusal | None:
        """Return why this setting may not have this value, or None if it may."""
        section = name.rpartition(".")[0]
        if name in self._settings:
            rule = self._settings[name].rule
            if rule.largest is not None:
                return _number_refusal(name, value, rule.largest)
            if rule.longest is not None:
                return _length_refusal(name, value, rule.longest)
            if rule.choice:
                return None
        elif (largest := self._largest_by_task(section)) is not None:
            return _number_refusal(name, value, largest)
        if value is None or value == {}:
            return None  # sets nothing; the run's own check names settings that do not exist
        if name in self._settings and self._settings[name].rule.place is not None:
            return self._place_refusal(value, self._settings[name].rule)
        closed = next((key for key in self._closed() if name == key or name.startswith(f"{key}.")), None)
        if closed is None:
            return self._unknown(name)
        if value == self._settings[closed].default:
            return None
        return (
            f"cannot be set over HTTP, because {self._settings[closed].rule.closed}",
            f"Leave it out, {_OR_ASK}",
        )

    def _largest_by_task(self, name: str) -> float | None:
        return self._settings[name].rule.largest_by_task if name in self._settings else None

    def _closed(self) -> Iterator[str]:
        return (name for name, setting in self._settings.items() if setting.rule.closed is not None)

    def _place_refusal(self, value: Any, rule: OverHttp) -> _Refusal | None:
        """Return why a place is not open. Runs are written below `runs_dir` alone; the rest is below the roots."""
        assert rule.place is not None
        roots = self._roots[rule.place]
        if isinstance(value, str):
            listed = rule.also is not None and re.fullmatch(rule.also, value)
            if listed or any(_is_below(value, root) for root in roots):
                return None
        if rule.place == "runs_dir":
            opened = f"this server's runs: {roots[0]}"
        else:
            opened = f"VIDEOSSR_ROOTS: {', '.join(roots) or 'there are none'}"
        return f"is outside the places that are open over HTTP ({opened})", f"Leave it out, {_OR_ASK}"

    def _unknown(self, name: str) -> _Refusal:
        """Return what is wrong with a name that is no setting, and the name that was probably meant."""
        if self._largest_by_task(name) is not None:
            return "is a section with a number for each task", f"Set one, as {name}.grounding=1"
        below = sorted(known for known in self._settings if known.startswith(f"{name}."))
        if below:
            return "is a section of settings, not a value", f"Set one, as {', '.join(below[:3])}"
        fix = did_you_mean(name[:_MAX_SHOWN_NAME], self._settings)
        return "there is no such setting", fix or "`videossr train --dry-run` prints them all"


class _Loader(yaml.SafeLoader):
    """A YAML loader for plain values.

    It refuses aliases (a few lines of them unfold to billions of values), deep nesting, and very long numbers (which
    Python refuses to print).
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _refused(
                _CONFIGURATION, "YAML aliases (*name) are not accepted over HTTP", "Write them out"
            )
        if self.depth >= _MAX_DEPTH:
            raise _refused(_CONFIGURATION, f"is nested deeper than {_MAX_DEPTH} levels", "Flatten it")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBER_TAGS and len(node.value) > _MAX_DIGITS:
            raise _refused(
                _CONFIGURATION,
                f"{node.value[:20]}... is a number of {len(node.value)} digits",
                "Shorten it",
            )
        return node


def _parse(text: str, name: str) -> Any:
    """Return the value of a YAML text. Raise ConfigRefused, which names `name`, if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, ConfigRefused):
            raise
        raise _refused(name[:_MAX_SHOWN_NAME], f"is not YAML: {' '.join(str(error).split())[:200]}") from None


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything below `node`; an empty section is a leaf too."""
    if isinstance(node, dict) and (node or not name):
        for key, value in node.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _number_refusal(name: str, value: Any, largest: float) -> _Refusal | None:
    for number in value if isinstance(value, list) else [value]:
        # YAML reads 1e-6 as text, and the configuration accepts it as a number.
        if number is not None and not isinstance(number, int | float | str):
            return "is not a number", f"Set {name} to one of at most {largest:g}"
        if isinstance(number, str) and math.isnan(_number(number)):
            return "is not a number", f"Set {name} to one of at most {largest:g}"
        if not _number(number) <= largest:
            return f"is not a number up to {largest:g}, the most over HTTP", f"Lower {name}, {_OR_ASK}"
    return None


def _number(value: float | str | None) -> float:
    """Return the value as a number: NaN for text that is no number, 0 for None."""
    try:
        return float(value or 0)
    except (ValueError, OverflowError):
        return math.nan


def _length_refusal(name: str, value: Any, longest: int) -> _Refusal | None:
    if isinstance(value, str) and len(value) > longest:
        return f"has {len(value)} characters; the most over HTTP is {longest}", f"Shorten {name}, {_OR_ASK}"
    return None  # the run's own check refuses values that are not text


def _is_below(place: str, root: str) -> bool:
    """Return whether `place`, a path or an address, is `root` or below it, judged by its characters alone.

    Options (?endpoint_override=ELSEWHERE sends requests signed with the server's keys to another host), fragments and
    escaped characters (%2e%2e leads up) are not accepted in an address.
    """
    if "::" in place or any(sign in place for sign in "\\?#%") or ".." in place.split("/"):
        return False  # chained addresses, and paths that lead up
    scheme, separator, path = place.rpartition("://")
    place = scheme + separator + posixpath.normpath(path)
    return place == root or place.startswith(f"{root}/")


def _refused(name: str, rule: str, fix: str = "") -> ConfigRefused:
    return ConfigRefused([Problem(name, NO_VALUE, rule, fix)])


def _refuse_any(problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigRefused(problems)
