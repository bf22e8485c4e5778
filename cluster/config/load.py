"""Reading a configuration: YAML, overrides and checks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cluster.config.errors import ConfigError, validation_problems
from cluster.config.rules import contradictions
from cluster.config.schema import Config
from vocabulary.problems import NO_VALUE

M = TypeVar("M", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read the configuration file `path` and apply `dotted.key=value` overrides, whose values are YAML.

    Raises:
        ConfigError: the file cannot be read, or a setting is refused.
    """
    return build_config(settings_of(read_text(path), str(path), overrides))


def read_text(path: Path) -> str:
    """Return the text of a configuration file. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            str(path),
            NO_VALUE,
            f"cannot be read ({error.strerror})",
            "Name a YAML file, for example configs/demo.yaml",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), NO_VALUE, f"is not YAML: {error}") from None


def settings_of(text: str, source: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Parse YAML and apply `dotted.key=value` overrides. Return plain values that are not checked yet.

    Args:
        source: where the text comes from, for error messages.

    Raises:
        ConfigError: the text is not YAML, or holds no settings.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(source, NO_VALUE, f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(source, NO_VALUE, "holds no settings", "Start from configs/demo.yaml")
    for override in overrides:
        apply_override(tree, override)
    return tree


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set `dotted.key=value` in `tree`, where the value is YAML. Raises ConfigError."""
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(
            repr(override), NO_VALUE, "an override has the form dotted.key=value, as in train.steps=10"
        )
    *parents, last = name.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        node[parent] = dict(child) if isinstance(child, dict) else {}
        node = node[parent]
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            repr(override), NO_VALUE, "the value is not YAML", f"Quote it, as in {name}='\"text\"'"
        ) from None


def build_config(tree: dict[str, Any]) -> Config:
    """Return a checked Config made of plain values. Raises ConfigError."""
    config = _with_mix_of_dataset(validated(Config, tree))
    if problems := contradictions(config):
        raise ConfigError(problems)
    return config


def validated(model: type[M], tree: dict[str, Any], shown_as: Callable[[str], str] = lambda name: name) -> M:
    """Return plain values as a checked `model`.

    Args:
        shown_as: gives the name that the user knows a setting by, from its dotted name.

    Raises:
        ConfigError: with every setting that the model refuses.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(validation_problems(error, model, shown_as)) from None


def _with_mix_of_dataset(config: Config) -> Config:
    """Give `data.mix` the weights of the dataset, if the run trains on one: it decides which tasks there are."""
    if config.data.dataset is None:
        return config
    from dataset.source import DatasetSource
    from dataset.store import DatasetError

    try:
        mix = DatasetSource(config.data.dataset, config.data.held_out_share, config.seed).mix
    except DatasetError as error:
        raise ConfigError("data.dataset", config.data.dataset, str(error)) from None
    return config.model_copy(update={"data": config.data.model_copy(update={"mix": mix})})
