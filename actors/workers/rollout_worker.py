"""A vLLM engine as an actor."""

import uuid
from collections.abc import Iterator
from typing import Any

from actors.process_info import Place, here
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput


class RolloutWorker:
    """Generates completions and receives weights; one call at a time, in the order they were made.

    A new or restarted worker holds the start model's weights and must be refitted before it serves:
    `generate` refuses to answer for a policy version that it has not been given.
    """

    def __init__(self, options: EngineOptions) -> None:
        self._engine = VllmEngine(options)
        self._life = uuid.uuid4().hex
        self._num_ranks = options.tensor_parallel_size
        self._policy_version: int | None = None

    def describe(self) -> tuple[str, int, Place]:
        """(this life's id, engine processes that receive weights, where it runs)."""
        return self._life, self._num_ranks, here()

    def generate(
        self, policy_version: int, samplings: list[Sampling], *inputs: EngineInput
    ) -> Iterator[list[tuple[int, list[Completion]]]]:
        """Complete every prompt with the weights of `policy_version`; see VllmEngine.stream.

        A Ray streaming generator: call it with num_returns="streaming". Inputs are positional so that Ray hands
        over the values behind their references.
        """
        if policy_version != self._policy_version:
            raise RuntimeError(
                f"rollout worker holds policy version {self._policy_version}, not {policy_version}: "
                "it was not refitted."
            )
        yield from self._engine.stream(inputs, samplings)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._engine.init_weight_transfer_engine(init_info)

    def start_weight_update(self) -> None:
        self._policy_version = None
        self._engine.start_weight_update()

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._engine.update_weights(update_info)

    def finish_weight_update(self, policy_version: int) -> None:
        self._engine.finish_weight_update()
        self._policy_version = policy_version

    def sleep(self) -> None:
        self._engine.sleep()

    def wake_up(self) -> None:
        self._engine.wake_up()
