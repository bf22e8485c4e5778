"""DeepSpeed's configuration for policy and reference, and where it builds its kernels."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import torch

from learner.config import LearnerConfig


def deepspeed_config(config: LearnerConfig) -> dict[str, Any]:
    """Return DeepSpeed's configuration. Batch sizes are 1, because we count micro-batches ourselves."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": False}
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }


def set_kernel_build_folder() -> None:
    """Make DeepSpeed build its kernels with this environment's ninja, into a folder of this environment.

    DeepSpeed builds a kernel at its first use. Another version of ninja, or another environment that shares the
    folder, would build it again; and a build that was killed leaves a lock there, on which every later build waits.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))


def import_muon_uncompiled() -> None:
    """Import DeepSpeed's Muon optimizer without compiling its functions.

    `deepspeed.initialize` imports it to compare classes. Its torch.compile decorators load inductor, which takes more
    than 3 s of every learner's start; the optimizer here is AdamW.
    """
    from deepspeed.runtime import compiler

    compile_function = compiler.compile
    compiler.compile = lambda *_, **__: lambda function: function
    try:
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")
    finally:
        compiler.compile = compile_function


def reference_config(config: LearnerConfig) -> dict[str, Any]:
    """Return DeepSpeed's configuration for a reference model, which is sharded only under ZeRO-3."""
    policy = deepspeed_config(config)
    offload = {name: v for name, v in policy["zero_optimization"].items() if name == "offload_param"}
    return policy | {"zero_optimization": offload | {"stage": 3 if config.zero_stage == 3 else 0}}
