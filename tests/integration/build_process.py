"""A dataset build in its own process and Ray cluster, which prints its progress.

Run as `python -m tests.integration.build_process JSON`, with the arguments of `main` as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(videos: list[str], out: str, num_cpus: int, count: int, **options: Any) -> None:
    import ray

    from cluster.training.ray_session import allow_slow_start
    from dataset.build import PAPER_MIX, BuildProgress, build, find_all
    from dataset.store import BuildSettings

    def report(progress: BuildProgress) -> None:
        print(progress.stage, progress.done, progress.total, progress.num_skipped, flush=True)

    allow_slow_start()
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    frames = {"num_frames": 24, "min_pixels": 4096, "max_pixels": 4096}
    tasks = {"grounding": {"segment": [4, 8]}, "counting": {"min_distance": 4}}
    settings = BuildSettings.model_validate(
        {"videos": videos, "mix": dict(PAPER_MIX), "count": count, "frames": frames, **tasks}
    )
    try:
        print(build(settings, find_all(videos), Path(out), report=report, **options).model_dump_json())
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
