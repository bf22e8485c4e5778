"""A vLLM engine as a Ray actor."""

import logging
import uuid
from collections.abc import Iterator
from typing import Any

from actors.process_info import ProcessInfo, current_process
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput

logger = logging.getLogger(__name__)


class RolloutWorker:
    """Generates completions and receives weights. It handles one call at a time, in the order they were made.

    A new or restarted worker holds the start model's weights and must be pushed to before it serves: `generate`
    refuses a policy version that it was not given.
    """

    def __init__(self, options: EngineOptions) -> None:
        logger.info("rollout worker starts its engine")
        self._engine = VllmEngine(options)
        self._life = uuid.uuid4().hex
        self._num_ranks = options.rollout.tensor_parallel_size
        self._policy_version: int | None = None
        logger.info("rollout worker is ready, life %s", self._life)

    def describe(self) -> tuple[str, int, ProcessInfo]:
        """Return (random id of this life, number of engine processes that receive weights, where it runs)."""
        return self._life, self._num_ranks, current_process()

    def generate(
        self, policy_version: int, samplings: list[Sampling], *inputs: EngineInput
    ) -> Iterator[list[tuple[int, list[Completion]]]]:
        """Yield completions of every prompt from the weights of `policy_version`; see VllmEngine.stream.

        A Ray streaming generator: call it with num_returns="streaming". Inputs are positional so that Ray passes the
        values behind their references.

        Raises:
            RuntimeError: the worker does not hold `policy_version`.
        """
        if policy_version != self._policy_version:
            raise RuntimeError(
                f"the rollout worker holds policy version {self._policy_version}, not {policy_version}: "
                "it was not pushed to."
            )
        logger.debug("generating for %d prompts with version %d", len(inputs), policy_version)
        yield from self._engine.stream(inputs, samplings)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Join the learner's transfer group."""
        self._engine.init_weight_transfer_engine(init_info)

    def start_weight_update(self) -> None:
        """Prepare for new weights; the worker holds no usable version until the update is finished."""
        self._policy_version = None
        self._engine.start_weight_update()

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Receive the weights that the learner sends meanwhile."""
        self._engine.update_weights(update_info)

    def finish_weight_update(self, policy_version: int) -> None:
        """Serve the received weights, which are `policy_version`."""
        self._engine.finish_weight_update()
        self._policy_version = policy_version
        logger.info("rollout worker holds policy version %d", policy_version)

    def sleep(self) -> None:
        """Free the engine's GPU memory; its weights are lost."""
        self._engine.sleep()

    def wake_up(self) -> None:
        """Take the GPU memory again; weights come with the next push."""
        self._engine.wake_up()
