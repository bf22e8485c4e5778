"""Fixtures and settings of all tests: tiny models, environment variables, and the order of tests in pytest-xdist."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

# torch reads this variable when it is imported. Tiny tensors gain nothing from a second thread, and on a busy machine
# its waiting makes them fifty times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine Ray's processes may start more slowly than Ray's own deadlines allow.
for name, value in {
    "RAY_worker_register_timeout_seconds": "900",
    "RAY_agent_register_timeout_ms": "900000",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "900",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # saves one process per run
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
}.items():
    os.environ.setdefault(name, value)

CORPUS = (
    "Answer directly.",
    "system user assistant",
    "In what seconds is it? Order them: 0123456789 seconds",
)
# Files whose tests share the engines of tests/contract/conftest.py and the server of tests/contract/processes.py.
ENGINE_FILES = (
    "test_engine_stream.py",
    "test_parity.py",
    "test_policy_ranks.py",
    "test_push.py",
    "test_push_failures.py",
)

TinyFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """Return a function from architecture to model folder: tiny_folder("qwen3_vl") holds a tiny random model.

    The function creates the model (see learner.modeling.tiny).
    """
    from learner.modeling.tiny import create_tiny_model

    root = tmp_path_factory.mktemp("tiny")

    def make(architecture: str) -> Path:
        return create_tiny_model(root / architecture, corpus=CORPUS, architecture=architecture)  # type: ignore[arg-type]

    return make


def scope_of(nodeid: str) -> str:
    """Return the scope of a test. Tests with the same scope run in one process, because they share fixtures.

    The scope is the file, with two exceptions: all files of ENGINE_FILES have one scope, and in tests/integration
    each test has its own, because it starts its own processes.
    """
    file, _, _ = nodeid.partition("::")
    if file.startswith("tests/integration/"):
        return nodeid
    return "engines" if Path(file).name in ENGINE_FILES else file


def _rank(scope: str) -> int:
    """Return 0 for the scopes that take longest. They start first, so that no core is idle at the end."""
    if scope.startswith("tests/integration/") or scope == "engines":
        return 0
    return 1 if scope.startswith("tests/contract/") else 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests in a process of pytest-xdist: the longest scopes first, then those with the most tests."""
    if hasattr(config, "workerinput"):
        scopes = [scope_of(item.nodeid) for item in items]
        size = Counter(scopes)
        first = {scope: place for place, scope in reversed(list(enumerate(scopes)))}
        items.sort(key=lambda item: _order(scope_of(item.nodeid), size, first))


def _order(scope: str, size: Mapping[str, int], first: Mapping[str, int]) -> tuple[int, int, int]:
    return _rank(scope), -size[scope], first[scope]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that gives each process whole scopes, in the order of `pytest_collection_modifyitems`."""
    from xdist.scheduler import LoadScopeScheduling

    class ByScope(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False
    return ByScope(config, log)
