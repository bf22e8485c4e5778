"""A rollout engine in its own process, controlled over a pipe.

Engine and learner cannot share a process, because each needs its own torch.distributed.
"""

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from rollout.config import RolloutConfig
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput
from tests.contract.processes import process_context

_CALL_TIMEOUT_S = 600.0  # bounds a hang; a call takes far less, also on a busy machine


def _serve(pipe: Connection, options: EngineOptions) -> None:
    engine = VllmEngine(options)
    pipe.send(None)
    while (call := pipe.recv()) is not None:
        function, arguments = call
        try:
            pipe.send(function(engine, *arguments))
        except Exception as error:
            pipe.send(RuntimeError(f"{function.__name__}: {error}"))


class EngineProcess:
    """An engine that generates and receives pushes (it implements weight_sync.sender.RolloutClient)."""

    num_ranks = 1

    def __init__(self, options: EngineOptions) -> None:
        context = process_context()
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, options), daemon=True)
        self._process.start()
        self._receive()

    def _receive(self) -> Any:
        assert self._pipe.poll(_CALL_TIMEOUT_S), "the engine process sent no result"
        value = self._pipe.recv()
        if isinstance(value, Exception):
            raise value
        return value

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return `function(engine, *arguments)`, computed in the engine's process.

        Raises:
            RuntimeError: the function raised.
        """
        self._pipe.send((function, arguments))
        return self._receive()

    def generate(self, inputs: Sequence[EngineInput], sampling: Sampling) -> list[list[Completion]]:
        return self.run(VllmEngine.generate, list(inputs), [sampling] * len(inputs))

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.run(VllmEngine.init_weight_transfer_engine, init_info)

    def start_weight_update(self) -> None:
        self.run(VllmEngine.start_weight_update)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.run(VllmEngine.update_weights, update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.run(VllmEngine.finish_weight_update)

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()


def engine_options(model: str, **changes: Any) -> EngineOptions:
    """Return the options of a CPU engine for a tiny model, with `changes`."""
    options: dict[str, Any] = {
        "model": model, "rollout": RolloutConfig(dtype="float32", max_num_seqs=64, kv_cache_gib=0.5), "device": "cpu",
        "seed": 0, "max_model_len": 2048, "max_videos": 8, "weight_transfer": "gloo", "shares_gpus": False,
    }  # fmt: skip
    return EngineOptions(**(options | changes))
