"""Refusals of a configuration or a command line, and what they say about pydantic's errors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vocabulary.problems import NO_VALUE, Problem, did_you_mean
from vocabulary.settings import section_class

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_PYDANTIC_PREFIX = "Value error, "  # precedes the message of a ValueError raised in a validator
_UNION_BRANCHES = ("constrained-int", "int")  # appear in the place of a pydantic error without being names

_FIXES = {
    "grpo.group_size": "GRPO compares the completions of a prompt: with one, every advantage is 0. Set it to 2 or more",
    "rollout.temperature": "At 0 all completions of a prompt are alike. Set it to 1.0, or another value above 0",
}


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
        fix = did_you_mean(path[-1], known, ".".join(path[:-1])) or f"Known: {', '.join(known)}"
        return Problem(name, value, "there is no such setting", fix)
    if found["type"] == "model_type":
        examples = ", ".join(f"{dotted}.{key}" for key in _known_keys(root, path)[:3])
        return Problem(name, value, "is a section of settings, not a value", f"Set one, as {examples}")
    if found["type"] == "value_error" and isinstance(value, dict):
        value = NO_VALUE  # the value is a whole section; the rule's text names the setting
    rule = str(found["msg"]).removeprefix(_PYDANTIC_PREFIX)
    return Problem(name, value, rule[0].lower() + rule[1:], _FIXES.get(dotted, f"Change {name}"))


def _known_keys(root: "type[BaseModel]", path: Sequence[str]) -> list[str]:
    """Return the names of the settings in the section at `path`, sorted."""
    model: Any = root
    for part in path:
        field = model.model_fields.get(part)
        model = None if field is None else section_class(field)
        if model is None:
            return []
    return sorted(model.model_fields)
