"""Tiny models and engines that all tests share, because an engine takes longer to start than most tests run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TinyFolder

_CORPUS = (
    "Which seconds were edited? What is their order in time? Clip 1: Answer directly. <0.5 seconds>",
    "When? Order them: 0123456789",
)


@pytest.fixture(scope="session")
def engine_model(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """Return a function from architecture to model folder. It creates each tiny model once."""
    from learner.modeling.tiny import create_tiny_model

    root = tmp_path_factory.mktemp("engines")
    made: dict[str, Path] = {}

    def folder(architecture: Any) -> Path:
        if architecture not in made:
            made[architecture] = create_tiny_model(
                root / architecture, corpus=[*_CORPUS, *_CORPUS], architecture=architecture
            )
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def engines() -> Iterator[Any]:
    """Yield the engines that all tests share (tests.contract.engines.Engines)."""
    from tests.contract.engines import Engines

    shared = Engines()
    yield shared
    shared.close()
