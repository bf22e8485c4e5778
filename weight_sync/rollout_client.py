"""The rollout workers as the receiving side of a push: which ones, and how the learner calls them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class LiveWorker:
    """A rollout worker in one life of its process. After a restart it is another LiveWorker."""

    actor: Any  # handle of the RolloutWorker actor
    index: int  # number among the run's rollout workers
    life: str  # random id of the process
    num_ranks: int  # number of engine processes that receive weights


class RolloutClient(Protocol):
    """The engines' side of a push, as vLLM's trainer engines drive it (vLLM's VLLMWeightSyncClient).

    Every call reaches all engines and returns when all have returned, or raises an error that names the workers that
    have not. An error of `start_weight_update` may be raised by the call that follows it.
    """

    @property
    def num_ranks(self) -> int: ...  # number of engine processes that receive weights

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...

    def start_weight_update(self) -> None: ...

    def update_weights(self, update_info: dict[str, Any]) -> None: ...

    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class RayRolloutClient:
    """A RolloutClient that calls RolloutWorker actors.

    Args:
        policy_version: version that the workers hold once the update is finished.
        timeout_s: deadline of each call.
    """

    def __init__(self, workers: Sequence[LiveWorker], policy_version: int, timeout_s: float) -> None:
        self._workers, self._policy_version, self._timeout_s = workers, policy_version, timeout_s
        self._unawaited: list[Any] = []

    @property
    def num_ranks(self) -> int:
        """Number of engine processes that receive weights."""
        return sum(worker.num_ranks for worker in self._workers)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have every engine join the transfer group."""
        ranks_before = 0

        def call(worker: LiveWorker) -> Any:
            nonlocal ranks_before
            info = dict(init_info)
            if "rank_offset" in info:  # each engine's ranks follow those of the engines before it
                info["rank_offset"] += ranks_before
                ranks_before += worker.num_ranks
            return worker.actor.init_weight_transfer_engine.remote(info)

        self._call_all("join the weight transfer", call)

    def start_weight_update(self) -> None:
        """Have every engine prepare for new weights, without waiting for it.

        A worker handles its calls in order, so the next call waits for this one too. That saves a round of calls,
        which is most of what a small push to many workers takes.
        """
        self._unawaited = [worker.actor.start_weight_update.remote() for worker in self._workers]

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Have every engine receive the weights."""
        self._call_all("receive the weights", lambda worker: worker.actor.update_weights.remote(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Have every engine use the new weights. `weight_version` is vLLM's own and is ignored."""
        version = self._policy_version
        self._call_all("finish the update", lambda worker: worker.actor.finish_weight_update.remote(version))

    def _call_all(self, what: str, call: Callable[[LiveWorker], Any]) -> None:
        """Call every worker at once and wait for all; raise TimeoutError with the numbers of those that are late."""
        import ray

        calls = {call(worker): worker.index for worker in self._workers}
        done, late = ray.wait(list(calls), num_returns=len(calls), timeout=self._timeout_s)
        if late:
            numbers = ", ".join(str(calls[reference]) for reference in late)
            raise TimeoutError(f"rollout worker {numbers} did not {what} within {self._timeout_s:.0f} s.")
        unawaited, self._unawaited = self._unawaited, []
        ray.get(unawaited + done)
