"""A rollout engine in a process of its own, driven over a pipe: engine and learner each need torch.distributed."""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput

_TIMEOUT_S = 240.0


def _serve(pipe: Connection, options: EngineOptions) -> None:
    engine = VllmEngine(options)
    pipe.send(None)
    while (call := pipe.recv()) is not None:
        method, arguments = call
        try:
            pipe.send(getattr(engine, method)(*arguments))
        except Exception as error:
            pipe.send(RuntimeError(f"{method}: {error}"))


class EngineProcess:
    """An engine as weight_sync.sender.RolloutClient, with `generate` beside it."""

    num_ranks = 1

    def __init__(self, options: EngineOptions) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, options), daemon=True)
        self._process.start()
        self._answer()

    def _answer(self) -> Any:
        assert self._pipe.poll(_TIMEOUT_S), "the engine process did not answer"
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _call(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._answer()

    def generate(self, inputs: Sequence[EngineInput], sampling: Sampling) -> list[list[Completion]]:
        return self._call("generate", list(inputs), [sampling] * len(inputs))

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._call("init_weight_transfer_engine", init_info)

    def start_weight_update(self) -> None:
        self._call("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call("update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("finish_weight_update")

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()


def engine_options(model: str, **changes: Any) -> EngineOptions:
    """Options of a CPU engine for a tiny model."""
    options: dict[str, Any] = {
        "model": model, "device": "cpu", "dtype": "float32", "seed": 0, "max_model_len": 2048, "max_num_seqs": 64,
        "max_videos": 8, "tensor_parallel_size": 1, "gpu_memory_utilization": 0.9, "kv_cache_gib": 0.5,
        "weight_transfer": "gloo", "sleep": False, "vllm_args": {},
    }  # fmt: skip
    return EngineOptions(**(options | changes))
