"""A rate limiter. It does no I/O."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class RateLimiter:
    """A token bucket per client: `burst` uses at once, then one every `every_s` seconds. Safe across threads.

    Args:
        max_clients: number of clients remembered; beyond it, the least recently seen client is forgotten.
    """

    def __init__(
        self,
        *,
        burst: int,
        every_s: float,
        max_clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._every_s, self._max_clients, self._clock = burst, every_s, max_clients, clock
        self._lock = threading.Lock()
        self._full_at: OrderedDict[str, float] = OrderedDict()  # time when each bucket is full again

    def wait_s(self, client: str) -> float:
        """Return the seconds until `client` has a use left; 0 if it has one now."""
        with self._lock:
            return self._wait_s(client, self._clock())

    def take(self, client: str) -> float:
        """Take one use if there is one. Returns what `wait_s` would have returned before."""
        with self._lock:
            now = self._clock()
            wait_s = self._wait_s(client, now)
            if wait_s == 0:
                self._full_at[client] = max(now, self._full_at.get(client, now)) + self._every_s
                self._full_at.move_to_end(client)
                if len(self._full_at) > self._max_clients:
                    self._full_at.popitem(last=False)
            return wait_s

    def _wait_s(self, client: str, now: float) -> float:
        return max(0.0, self._full_at.get(client, now) + self._every_s - now - self._burst * self._every_s)
