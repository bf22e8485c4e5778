"""A reward of the user's own: a function (task, text, answer) -> float in [0, 1], named by its import path."""

import importlib
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real
from types import FrameType
from typing import Any

Reward = Callable[[str, str, str], float]  # task, completion text, true answer

_FORM = "write it as package.module:name, a function (task, text, answer) that returns a number from 0 to 1"


def load_reward(path: str) -> Reward:
    """The function that `path` names, as "package.module:name".

    Raises:
        ValueError: there is no such function, or its module cannot be imported; says the rule and the fix.
    """
    module_name, separator, name = path.partition(":")
    if not (separator and module_name and name):
        raise ValueError(f"{path!r} names no function: {_FORM}.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise ValueError(
            f"{module_name!r} cannot be imported ({type(error).__name__}: {error}): the module has to be in the "
            "folder where the command is started, or installed. Put it there, or mend it."
        ) from error
    function: Any = getattr(module, name, None)
    if function is None:
        raise ValueError(f"{module_name!r} has no {name!r}: {_FORM}.")
    if not callable(function):
        raise ValueError(f"{path!r} is not a function but a {type(function).__name__}: {_FORM}.")
    reward: Reward = function
    return reward


def custom_score(
    function: Reward, task: str, text: str, answer: str, *, timeout_s: float
) -> tuple[float, str]:
    """(reward, ""), or (0.0, what was wrong): the user's function may not end a run.

    Wrong are an exception, more than `timeout_s` seconds, and what is no number from 0 to 1.
    """
    try:
        with _deadline(timeout_s):
            value = function(task, text, answer)
    except Exception as error:
        return 0.0, f"{type(error).__name__}: {error}"
    if not isinstance(value, Real):
        return 0.0, f"returned {value!r:.60}, which is no number"
    reward = float(value)
    if math.isnan(reward) or not 0.0 <= reward <= 1.0:
        return 0.0, f"returned {reward}, which is not between 0 and 1"
    return reward, ""


@contextmanager
def _deadline(timeout_s: float) -> Iterator[None]:
    """Raises TimeoutError in the body after `timeout_s`. For the main thread, where signals arrive."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {timeout_s:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
