"""Processes for ranks and engines, forked from one server that has imported torch, DeepSpeed and vLLM.

These imports take 15 s of a core, which every process would otherwise spend.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import torch.multiprocessing

# Only installed packages, because the tests' folder is not on the server's import path.
_PRELOADED = (
    "deepspeed",
    "learner.policy",
    "rollout.engine",
    "vllm.entrypoints.llm",
    "vllm.model_executor.models.qwen3_vl",
    "vllm.v1.worker.cpu_worker",
    "weight_sync.gloo_transfer",
)
# The packages read these variables when they are imported. rollout.engine and learner.policy set the same values.
_ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


def process_context() -> ForkServerContext:
    """Return the multiprocessing context that starts processes from the server."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def start_ranks(function: Callable[..., None], arguments: tuple[Any, ...], *, world_size: int) -> Any:
    """Start `function(rank, *arguments)` in `world_size` processes; return torch's context, which joins them."""
    process_context()
    return torch.multiprocessing.start_processes(
        function, arguments, nprocs=world_size, join=False, start_method="forkserver"
    )
