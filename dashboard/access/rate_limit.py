"""How often a client may do something."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """A token bucket for each client: `burst` at once, then one every `every_s` seconds. Threads may share it."""

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
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when each client's bucket is full again

    def wait_s(self, client: str) -> float:
        """Seconds until `client` may go on; 0: now."""
        with self._lock:
            return self._wait_s(client, self._clock())

    def take(self, client: str) -> float:
        """Use one up, if there is one; returns the same as `wait_s` would have."""
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
