"""Tiny models as Hugging Face folders, made once for all tests that want one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch is imported. Tiny tensors gain nothing from a second thread, and on a busy machine its waiting
# makes them fifty times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CORPUS = (
    "Answer directly.",
    "system user assistant",
    "In what seconds is it? Order them: 0123456789 seconds",
)

TinyFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """tiny_folder("qwen3_vl"): a random model of that architecture, as learner.modeling.tiny makes it."""
    from learner.modeling.tiny import create_tiny_model

    root = tmp_path_factory.mktemp("tiny")

    def make(architecture: str) -> Path:
        return create_tiny_model(root / architecture, corpus=CORPUS, architecture=architecture)  # type: ignore[arg-type]

    return make
