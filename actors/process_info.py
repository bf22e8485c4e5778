"""Where a process of a run is running."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessInfo:
    """The host, process id and GPUs of a Ray worker process."""

    node: str  # IP address of its node
    pid: int
    gpus: str | None = None  # numbers of the GPUs assigned to it, as "0, 1"; None: no GPU


def current_process() -> ProcessInfo:
    """Describe the current process. Callable only inside a Ray task or actor."""
    import ray

    context = ray.get_runtime_context()
    gpus = ", ".join(str(number) for number in ray.get_gpu_ids())
    node = next(
        (each["NodeManagerAddress"] for each in ray.nodes() if each["NodeID"] == context.get_node_id()), "?"
    )
    return ProcessInfo(node, os.getpid(), gpus or None)
