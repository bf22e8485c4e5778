"""The settings of a configuration class, each with what it may be set to over HTTP. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vocabulary.over_http import OverHttp

_UNMARKED = OverHttp(closed="its field does not say how far it may be set (OverHttp)")


@dataclass(frozen=True)
class HttpSetting:
    """One setting, as requests see it."""

    rule: OverHttp
    default: Any  # as JSON; a closed setting may repeat it


@lru_cache(maxsize=8)
def http_settings(config_class: type[BaseModel]) -> Mapping[str, HttpSetting]:
    """Return every setting of a configuration class by its dotted name, those of optional sections included.

    A field without an `OverHttp` marker is closed.
    """
    return MappingProxyType(dict(_settings(config_class, "")))


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, HttpSetting]]:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield from _settings(section, f"{prefix}{name}.")
        else:
            rule = next((each for each in field.metadata if isinstance(each, OverHttp)), _UNMARKED)
            yield f"{prefix}{name}", HttpSetting(rule, _as_json(field.default))


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of the section that a field holds, or None where it holds a value."""
    options = get_args(field.annotation) or (field.annotation,)
    return next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
