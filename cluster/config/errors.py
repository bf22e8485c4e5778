"""Refusals: what is wrong with a setting or an option, as data, and its one rendering as text."""

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

NO_VALUE: Any = object()  # stands for the value of a problem that is about no value

_LONGEST_VALUE = 120  # characters
_PYDANTIC_PREFIX = "Value error, "  # precedes the message of a ValueError raised in a validator
_UNION_BRANCHES = ("constrained-int", "int")  # appear in the place of a pydantic error without being names

_FIXES = {
    "grpo.group_size": "GRPO compares the completions of a prompt: with one, every advantage is 0. Set it to 2 or more",
    "rollout.temperature": "At 0 all completions of a prompt are alike. Set it to 1.0, or another value above 0",
}


@dataclass(frozen=True)
class Problem:
    """One refused setting, option or file. Its text is `name=value: rule. Fix.`, on one line."""

    name: str  # dotted name of a setting, an option with its dashes, or a path
    value: Any  # refused value; NO_VALUE: the problem is about none
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


class ConfigError(ValueError):
    """A configuration or command line that is refused. As text: one line for each problem.

    `ConfigError(name, value, rule, fix)` has one problem, `ConfigError(problems)` any number of them.
    """

    def __init__(
        self,
        problem: str | Iterable[Problem],
        value: Any = NO_VALUE,
        rule: str = "",
        fix: str = "",
        also: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(problem, str):
            problem = (Problem(problem, value, rule, fix, also or {}),)
        self.problems = tuple(problem)
        super().__init__(self.problems)

    @classmethod
    def quoting(cls, error: Exception) -> "ConfigError":
        """Return the refusal of another package, whose text already has name, rule and fix."""
        return cls("", NO_VALUE, str(error))

    def renamed(self, old: str, new: str, value: Any) -> "ConfigError":
        """Return this error with the problems of setting `old` under the name and value that the user typed."""
        return ConfigError(
            replace(problem, name=new, value=value) if problem.name == old else problem
            for problem in self.problems
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def validation_problems(
    error: "ValidationError",
    model: "type[BaseModel]",
    shown_as: Callable[[str], str] = lambda name: name,
) -> list[Problem]:
    """Return the problems that pydantic found while it validated a `model`.

    Args:
        shown_as: gives the name that the user knows a setting by, from its dotted name.
    """
    return [_explained(found, model, shown_as) for found in error.errors()]


def _explained(found: Any, root: "type[BaseModel]", shown_as: Callable[[str], str]) -> Problem:
    path = [str(part) for part in found["loc"] if part != "[key]" and part not in _UNION_BRANCHES]
    dotted, value = ".".join(path), found["input"]
    name = shown_as(dotted)
    if found["type"] == "extra_forbidden":
        known = _known_keys(root, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        fix = f"Did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"Known: {', '.join(known)}"
        return Problem(name, value, "there is no such setting", fix)
    if found["type"] == "model_type":
        examples = ", ".join(f"{dotted}.{key}" for key in _known_keys(root, path)[:3])
        return Problem(name, value, "is a section of settings, not a value", f"Set one, as {examples}")
    if found["type"] == "value_error" and isinstance(
        value, dict
    ):  # the rule names the setting in this section
        value = NO_VALUE
    rule = str(found["msg"]).removeprefix(_PYDANTIC_PREFIX)
    return Problem(name, value, rule[0].lower() + rule[1:], _FIXES.get(dotted, f"Change {name}"))


def _known_keys(root: "type[BaseModel]", path: Sequence[str]) -> list[str]:
    """Return the names of the settings in the section at `path`, sorted."""
    from pydantic import BaseModel

    def is_section(kind: Any) -> bool:
        return isinstance(kind, type) and issubclass(kind, BaseModel)

    model: Any = root
    for part in path:
        setting = model.model_fields.get(part)
        if setting is None:
            return []
        options = getattr(setting.annotation, "__args__", (setting.annotation,))
        model = next(filter(is_section, options), None)
        if model is None:
            return []
    return sorted(model.model_fields)


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
