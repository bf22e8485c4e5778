"""Pushes that share one transfer group for as long as the rollout workers stay the same."""

import logging
from collections.abc import Sequence

from weight_sync.rollout_client import LiveWorker, RayRolloutClient
from weight_sync.sender import PushedPolicy, PushHung, WeightSender

logger = logging.getLogger(__name__)


class Pusher:
    """One learner rank's part in the pushes of a run. All ranks call `push` together.

    Args:
        backend: "gloo", "nccl" or "ipc".
        timeout_s: deadline of each call to the engines.
        trained_only: leave out frozen parameters; see WeightSender.
    """

    def __init__(self, policy: PushedPolicy, *, backend: str, timeout_s: float, trained_only: bool) -> None:
        self._policy, self._backend = policy, backend
        self._timeout_s, self._trained_only = timeout_s, trained_only
        self._sender: WeightSender | None = None
        self._lives: tuple[str, ...] = ()

    def push(self, workers: Sequence[LiveWorker], policy_version: int) -> str | None:
        """Send the current weights to `workers`.

        Returns:
            None, or on rank 0 the reason why it failed. The controller then restarts the workers and pushes again.

        Raises:
            PushHung: the push neither ended nor failed. Ray Train restarts the learner, and the new session pushes.
            Exception: on another rank than 0, where only gathering a parameter can fail.
        """
        lives = tuple(worker.life for worker in workers)
        try:
            if self._sender is None or lives != self._lives:
                self.close()
                logger.debug("opening a transfer group with %d rollout workers", len(workers))
                self._sender = WeightSender(
                    self._policy,
                    backend=self._backend,
                    timeout_s=self._timeout_s,
                    trained_only=self._trained_only,
                )
                self._lives = lives
            self._sender.send(RayRolloutClient(workers, policy_version, self._timeout_s))
        except PushHung:
            raise
        except Exception as error:
            if self._policy.rank != 0:
                raise
            self.close()
            return f"push of version {policy_version} failed: {type(error).__name__}: {error}"
        return None

    def close(self) -> None:
        """Leave the transfer group."""
        if self._sender is not None:
            self._sender.close()
        self._sender = None
