"""Every kind of event that a run records: its stored name, its title for people, and how serious it is.

The driver (`cluster/`), the actors and the store's writer record events. The page and the terminal show them. A test
compares `dashboard/page/views/run/event_kinds.js` with this catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from vocabulary.stages import STAGE_EVENT

Severity = Literal[
    "info", "warn", "error"
]  # warn: the run continues as well as before, or with little missing

CHECKPOINT = "checkpoint"
FAILED = "failed"
HELD_OUT_SCORE = "held_out_score"
LEARNER_RESTARTED = "learner_restarted"
PUSH_FAILED = "push_failed"
RECORD_FAILED = "record_failed"
RECORD_LOST = "record_lost"
REQUEST = "request"
REWARD_FAILED = "reward_failed"
ROLLOUT_DIED = "rollout_died"
ROLLOUT_LOST = "rollout_lost"
ROLLOUT_RESTARTED = "rollout_restarted"
STOPPED = "stopped"  # a run whose driver died, closed by another process
VIDEO_SKIPPED = "video_skipped"
WARMING_UP = "warming_up"


@dataclass(frozen=True)
class EventKind:
    """One kind of event.

    Args:
        name: as stored.
        title: for people.
        old_names: names under which older runs stored this kind.
    """

    name: str
    title: str
    severity: Severity
    old_names: tuple[str, ...] = ()


EVENT_KINDS: tuple[EventKind, ...] = (
    # --- the course of the run
    EventKind(STAGE_EVENT, "stage", "info"),
    EventKind(WARMING_UP, "warming up", "info"),
    EventKind(HELD_OUT_SCORE, "held-out score", "info"),
    EventKind(CHECKPOINT, "checkpoint", "info"),
    EventKind(REQUEST, "request", "info"),
    EventKind(FAILED, "failed", "error"),
    EventKind(STOPPED, "stopped", "info"),
    # --- data and rewards
    EventKind(VIDEO_SKIPPED, "video skipped", "warn", old_names=("video_set_aside", "video_rejected")),
    EventKind(REWARD_FAILED, "reward failed", "error"),
    # --- processes
    EventKind(ROLLOUT_DIED, "rollout worker died", "error"),
    EventKind(ROLLOUT_RESTARTED, "rollout worker restarted", "warn"),
    EventKind(ROLLOUT_LOST, "rollout worker lost", "error"),
    EventKind(LEARNER_RESTARTED, "learner restarted", "warn"),
    EventKind(PUSH_FAILED, "push failed", "error"),
    # --- the record itself
    EventKind(RECORD_FAILED, "record failed", "error"),
    EventKind(RECORD_LOST, "record lost", "error"),
)

_BY_NAME: Mapping[str, EventKind] = MappingProxyType(
    {name: kind for kind in EVENT_KINDS for name in (kind.name, *kind.old_names)}
)


def event_kind(name: str) -> EventKind:
    """Return the catalogue's entry for a stored name, which may be an old one.

    >>> event_kind("video_set_aside").name
    'video_skipped'

    Raises:
        KeyError: the catalogue has no such kind.
    """
    if name not in _BY_NAME:
        raise KeyError(f"{name!r}: is not a kind of event. Add it to vocabulary/events.py.")
    return _BY_NAME[name]


def is_kind(name: str, kind: str) -> bool:
    """Return whether the stored name `name` is `kind` or an old name of it.

    >>> is_kind("video_rejected", VIDEO_SKIPPED), is_kind("a kind of a newer version", VIDEO_SKIPPED)
    (True, False)
    """
    return name in _BY_NAME and _BY_NAME[name].name == kind
