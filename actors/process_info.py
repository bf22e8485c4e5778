"""Where a process of a run is."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A Ray worker process."""

    node: str  # address of its node
    pid: int
    gpus: str | None = None  # numbers of those it was given; None: none


def here() -> Place:
    """Of this Ray worker process."""
    import ray

    context = ray.get_runtime_context()
    gpus = ", ".join(str(number) for number in ray.get_gpu_ids())
    node = next(
        (each["NodeManagerAddress"] for each in ray.nodes() if each["NodeID"] == context.get_node_id()), "?"
    )
    return Place(node, os.getpid(), gpus or None)
