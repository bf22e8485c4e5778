"""The settings of a configuration class, each with the values that it may have over HTTP. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vocabulary.over_http import OverHttp
from vocabulary.settings import settings

_UNMARKED = OverHttp(closed="its field does not say how far it may be set (OverHttp)")


@dataclass(frozen=True)
class HttpSetting:
    """One setting, with its rule over HTTP."""

    rule: OverHttp
    default: Any  # as JSON; a closed setting may be sent with this value


@lru_cache(maxsize=8)
def http_settings(config_class: type[BaseModel]) -> Mapping[str, HttpSetting]:
    """Return every setting of a configuration class by its dotted name, those of optional sections included.

    A field without an `OverHttp` marker is closed.
    """
    return MappingProxyType({name: _http_setting(field) for name, field in settings(config_class)})


def _http_setting(field: FieldInfo) -> HttpSetting:
    rule = next((each for each in field.metadata if isinstance(each, OverHttp)), _UNMARKED)
    return HttpSetting(rule, _as_json(field.default))


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
