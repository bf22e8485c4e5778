"""Reward functions that users write: (task, text, truth) -> float in [0, 1], named by their import path."""

import importlib
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import FrameType
from typing import Any

Reward = Callable[[str, str, str], float]  # task, text of the completion, truth

_FORM = "write it as package.module:name, a function (task, text, truth) that returns a number from 0 to 1"


def load_reward(path: str) -> Reward:
    """Return the function with this path, "package.module:name".

    Raises:
        ValueError: there is no such function, or its module cannot be imported. The message gives the fix.
    """
    module_name, separator, name = path.partition(":")
    if not (separator and module_name and name):
        raise ValueError(f"{path!r} names no function: {_FORM}.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # The user's code runs, and may raise anything.
        raise ValueError(
            f"{module_name!r} cannot be imported ({type(error).__name__}: {error}): the module must be in the "
            "folder where the command is started, or be installed. Put it there, or fix it."
        ) from error
    function: Any = getattr(module, name, None)
    if function is None:
        raise ValueError(f"{module_name!r} has no {name!r}: {_FORM}.")
    if not callable(function):
        raise ValueError(f"{path!r} is not a function but a {type(function).__name__}: {_FORM}.")
    reward: Reward = function
    return reward


def custom_score(
    function: Reward, task: str, text: str, truth: str, *, timeout_s: float
) -> tuple[float, str]:
    """Return (reward, ""), or (0.0, the reason) if the function fails, so that it cannot end a run.

    It fails if it raises, takes more than `timeout_s` seconds, or returns anything but a number from 0 to 1.
    """
    try:
        with _deadline(timeout_s):
            value = function(task, text, truth)
    except Exception as error:
        return 0.0, f"{type(error).__name__}: {error}"
    if not isinstance(value, Real):
        return 0.0, f"returned {value!r:.60}, which is not a number"
    reward = float(value)
    if math.isnan(reward) or not 0.0 <= reward <= 1.0:
        return 0.0, f"returned {reward}, which is not between 0 and 1"
    return reward, ""


@contextmanager
def _deadline(timeout_s: float) -> Iterator[None]:
    """Raise TimeoutError in the body after `timeout_s`. Works only in the main thread, which receives signals."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no result within {timeout_s:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
