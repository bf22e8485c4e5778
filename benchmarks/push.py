"""Measure a weight push on a CPU, between a learner and a vLLM engine in two processes of one thread each.

    python -m benchmarks.push

The push is compared with two other ways to move the same weights. They take turns, and the fastest round counts:

- a copy of the same bytes into existing memory, `dst.copy_(src)`, and into new memory, `src.clone()`, whose pages the
  system must allocate first;
- vLLM's own loading: the engine loads the same weights from its own process with the same calls, and nothing is sent.
  vLLM copies every weight, and packs it for its matrix products.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import Result, Target, show, store
from learner.modeling.tiny import build_tokenizer
from rollout.config import RolloutConfig
from rollout.engine import EngineOptions, VllmEngine
from weight_sync.buckets import plan_buckets
from weight_sync.sender import BUCKET_BYTES, WeightSender

_COMMAND = "python -m benchmarks.push"
_MIB = 2**20
_REPLY_TIMEOUT_S = 600.0


def make_model(folder: Path, *, hidden: int, layers: int) -> None:
    """Write a Qwen3-VL with random weights: the tiny model's architecture with another width and depth."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = build_tokenizer(["When? 0123456789"])
    head = 32
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": 512, "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers,
            "num_attention_heads": hidden // head, "num_key_value_heads": hidden // head // 4, "head_dim": head,
            "max_position_embeddings": 4096, "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [6, 5, 5], "rope_theta": 1e4, "mrope_interleaved": True
            },
        },
        vision_config={
            "depth": 2, "hidden_size": 64, "num_heads": 2, "patch_size": 16, "temporal_patch_size": 2,
            "spatial_merge_size": 2, "out_hidden_size": hidden, "intermediate_size": 128,
            "deepstack_visual_indexes": [0], "num_position_embeddings": 64,
        },
        tie_word_embeddings=True,
        **{f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{word}|>") for name, word in {
            "image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"
        }.items()},
    )  # fmt: skip
    pixels: dict[str, Any] = {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**pixels),
        chat_template=tokenizer.chat_template,
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


class Weights:
    """A policy that consists of the model's weights only; implements weight_sync.sender.PushedPolicy."""

    rank = 0
    device = torch.device("cpu")

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText

        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self._state = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def named_parameters(self, *, trained_only: bool) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._state.items()

    def parameter_shapes(self, *, trained_only: bool) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        return [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self._state.items()]


class _Engine(VllmEngine):
    """An engine that can also load weights from its own memory, with the calls of a push."""

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        super().__init__(options)
        self._folder = folder

    def seconds_of_loading(self) -> float:
        weights = list(Weights(self._folder).named_parameters(trained_only=False))

        def load(model: Any) -> None:
            model.load_weights(weights)

        started = time.perf_counter()
        self.start_weight_update()
        self._llm.apply_model(load)
        self._llm.finish_weight_update()
        return time.perf_counter() - started


def _serve(pipe: Connection, options: EngineOptions, folder: Path) -> None:
    torch.set_num_threads(1)
    engine = _Engine(options, folder)
    pipe.send(None)
    while (call := pipe.recv()) is not None:
        method, arguments = call
        pipe.send(getattr(engine, method)(*arguments))


class EngineClient:
    """A client of an engine in another process; a weight_sync.rollout_client.RolloutClient."""

    num_ranks = 1

    def __init__(self, folder: Path) -> None:
        options = EngineOptions(
            model=str(folder),
            rollout=RolloutConfig(dtype="float32", max_num_seqs=8, kv_cache_gib=0.25),
            device="cpu",
            seed=0,
            max_model_len=2048,
            max_videos=1,
            weight_transfer="gloo",
            shares_gpus=False,
        )
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, options, folder), daemon=True)
        self._process.start()
        other.close()  # so that reading fails when the process dies
        self._reply()

    def _reply(self) -> Any:
        if not self._pipe.poll(_REPLY_TIMEOUT_S):
            raise TimeoutError(f"the engine did not answer within {_REPLY_TIMEOUT_S:.0f} s.")
        return self._pipe.recv()

    def call(self, method: str, *arguments: Any) -> Any:
        self._pipe.send((method, arguments))
        return self._reply()

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.call("init_weight_transfer_engine", init_info)

    def start_weight_update(self) -> None:
        self.call("start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.call("update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.call("finish_weight_update")

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def measure(folder: Path, *, rounds: int) -> list[Result]:
    """Measure push, copies and vLLM's own loading in turns, and return the fastest of each."""
    policy = Weights(folder)
    src = torch.cat([tensor.reshape(-1) for _, tensor in policy.named_parameters(trained_only=False)])
    dst = src.clone()
    shapes = policy.parameter_shapes(trained_only=False)
    engine = EngineClient(folder)
    sender = WeightSender(policy, backend="gloo", timeout_s=120)
    try:
        sender.send(engine)  # the first push also opens the transfer group and allocates buffers
        turns = [
            (
                _seconds(lambda: sender.send(engine)),
                _seconds(lambda: dst.copy_(src)),
                _seconds(lambda: src.clone()),
                float(engine.call("seconds_of_loading")),
            )
            for _ in range(rounds)
        ]
    finally:
        sender.close()
        engine.close()
    push, copy, fresh, loading = (min(column) for column in zip(*turns, strict=True))
    figures: list[tuple[str, float, str, float | None]] = [
        ("weights", src.nbytes / _MIB, "MiB", None),
        ("buckets", len(plan_buckets(shapes, BUCKET_BYTES["gloo"])), "", None),
        ("push", 1000 * push, "ms", None),
        ("one copy into existing memory", 1000 * copy, "ms", None),
        ("one copy into new memory", 1000 * fresh, "ms", None),
        ("vLLM's own loading, nothing sent", 1000 * loading, "ms", None),
        ("push / copy", push / copy, "times", 3.0),
        ("push / copy into new memory", push / fresh, "times", None),
        ("vLLM's own loading / copy", loading / copy, "times", None),
        ("(push - vLLM's own loading) / copy", (push - loading) / copy, "times", None),
    ]
    return [
        Result(
            name=name,
            value=value,
            unit=unit,
            target=None if limit is None else Target(bound="at most", limit=limit),
            command=_COMMAND,
        )
        for name, value, unit, limit in figures
    ]


def main() -> None:
    """Measure and store the results."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description="Measure a weight push on a CPU.")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the model, a multiple of 128")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    # The engine's process reads these when it starts: one thread, which sleeps while it waits.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_LOGGING_LEVEL": "ERROR"}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="videossr-push-") as scratch:
        folder = Path(scratch) / "model"
        make_model(folder, hidden=arguments.hidden, layers=arguments.layers)
        results = measure(folder, rounds=arguments.rounds)
    store("push", results)
    show(results)


if __name__ == "__main__":
    main()
