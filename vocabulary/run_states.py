"""The states of a run, as the run store holds them and as people see them."""

from typing import Literal

# What the store holds.
StoredState = Literal["queued", "running", "stopped", "failed", "done"]
# What readers of the store get: a queued or running run that makes no progress is "stalled".
RunState = Literal["queued", "running", "stalled", "stopped", "failed", "done"]

# A run leaves these states only when it is resumed.
ENDED: tuple[StoredState, ...] = ("stopped", "failed", "done")
# A run in one of these should be making progress.
ACTIVE: tuple[StoredState, ...] = ("queued", "running")
