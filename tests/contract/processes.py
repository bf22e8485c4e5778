"""Processes for ranks and engines, forked from one server that has imported what all of them need.

Importing torch, DeepSpeed and vLLM takes 15 s of a core, which each process would otherwise spend again.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import torch.multiprocessing

# Installed packages only: the server has not the tests' path.
_PRELOADED = (
    "deepspeed",
    "learner.policy",
    "rollout.engine",
    "vllm.entrypoints.llm",
    "vllm.model_executor.models.qwen3_vl",
    "vllm.v1.worker.cpu_worker",
    "weight_sync.gloo_transfer",
)
# Read when these packages are imported; rollout.engine and learner.policy set the same.
_ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


def process_context() -> ForkServerContext:
    """Return the context in which to start processes."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def start_ranks(function: Callable[..., None], arguments: tuple[Any, ...], *, world_size: int) -> Any:
    """Start `function(rank, *arguments)` in `world_size` processes; return torch's context to join them."""
    process_context()
    return torch.multiprocessing.start_processes(
        function, arguments, nprocs=world_size, join=False, start_method="forkserver"
    )
