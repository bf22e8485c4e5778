"""Sections and marked settings of a configuration class, and the marker for settings that may change on resume.

The classes are pydantic models; this module reads their fields without importing pydantic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args


@dataclass(frozen=True)
class MayChangeOnResume:
    """A marker on a section or a setting that may differ when a run resumes.

    Marked are the sections `train`, `rollout`, `evaluation` and `cluster`, and a few single settings: how long a run
    goes on, how it generates and evaluates, and on which machines. All others, such as the model, the data and the
    algorithm, must stay as they were.

        runs_dir: Annotated[str, MayChangeOnResume()] = "runs"
    """


def section_class(field: Any) -> Any:
    """Return the class of the section that a model's field holds, or None if it holds a value."""
    options = get_args(field.annotation) or (field.annotation,)
    return next((option for option in options if hasattr(option, "model_fields")), None)


def settings(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the field of every setting, those of optional sections included."""
    for name, field in model.model_fields.items():
        section = section_class(field)
        if section is None:
            yield f"{prefix}{name}", field
        else:
            yield from settings(section, f"{prefix}{name}.")


def marked(model: Any, marker: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the sections and settings whose field has a marker of this class."""
    for name, field in model.model_fields.items():
        section = section_class(field)
        if any(isinstance(each, marker) for each in field.metadata):
            yield f"{prefix}{name}"
        elif section is not None:
            yield from marked(section, marker, f"{prefix}{name}.")
