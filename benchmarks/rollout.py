"""Compare rollouts through our actors with plain `vllm.LLM.generate` on the same prompts, in completions per second.

    python -m benchmarks.rollout

There are two engines with the same options and one thread each. One is in this process and is called directly, as
vLLM's documentation shows. The other is in a Ray actor behind a run's rollout pool, with prompts in Ray's object store
and completions streamed back. The two take turns. Each round has new videos and sampling seeds, like the steps of a
run. The table shows the fastest round, which is stored as results/rollout.json.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.messages import Prompt, PromptMeta
from actors.workers.rollout_pool import RolloutPool
from actors.workers.rollout_worker import RolloutWorker
from benchmarks.table import Result, Target, show, store
from pretext.recipe import Clip, Recipe
from rollout.config import RolloutConfig
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine, vllm_params, vllm_prompt
from rollout.prompt import EngineInput, ModelInput, PromptBuilder

COMMAND = "python -m benchmarks.rollout"
CORPUS = ["system user assistant Answer directly. When? 0123456789 seconds"]
NUM_FRAMES, SIDE_PX = 8, 64
SAMPLING = Sampling(num_completions=8, temperature=1.0, max_tokens=12, seed=0)
ROLLOUT = RolloutConfig(
    dtype="float32", max_num_seqs=256, kv_cache_gib=0.5, start_timeout_s=600, timeout_s=600
)


class StartModelWorker(RolloutWorker):
    """A rollout worker that serves the start model without waiting for a push."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(options)
        self._policy_version = 0


def main() -> None:
    """Measure both ways and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TRANSFORMERS_VERBOSITY": "error"}
    results = asyncio.run(_measure(options.prompts, options.rounds))
    store("rollout", results)
    show(results)


async def _measure(num_prompts: int, rounds: int) -> list[Result]:
    import ray

    from learner.modeling.tiny import create_tiny_model

    with tempfile.TemporaryDirectory() as scratch:
        model = create_tiny_model(Path(scratch) / "model", corpus=CORPUS)
        builder = _builder(model)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=f"{scratch}/ray")
        try:
            worker = ray.remote(StartModelWorker).options(num_cpus=1).remote(_options(model))
            ours = await _pool(worker)
            bare = VllmEngine(_options(model))._llm
            seconds: dict[str, list[float]] = {"bare": [], "ours": []}
            for number in range(rounds + 1):
                prompts = _prompts(builder, num_prompts, seed=number)
                stored = [
                    Prompt(_meta(index), ray.put(engine), ray.put(learner))
                    for index, (engine, learner) in enumerate(prompts)
                ]
                samplings = [replace(SAMPLING, seed=1000 * number + index) for index in range(num_prompts)]
                started = time.perf_counter()
                inputs = [vllm_prompt(engine) for engine, _ in prompts]
                outputs = bare.generate(inputs, [vllm_params(each) for each in samplings], use_tqdm=False)
                seconds["bare"].append(time.perf_counter() - started)
                started = time.perf_counter()
                completions = await _completions(ours, stored, samplings)
                seconds["ours"].append(time.perf_counter() - started)
                _check_same(outputs, completions)
        finally:
            ray.shutdown()
    rates = {name: num_prompts * SAMPLING.num_completions / min(taken[1:]) for name, taken in seconds.items()}
    name = f"{num_prompts} prompts of {NUM_FRAMES} frames, {SAMPLING.num_completions} completions each"
    ratio, target = rates["ours"] / rates["bare"], Target(bound="at least", limit=0.95)
    figures: list[tuple[str, float, str, Target | None]] = [
        ("bare LLM.generate", rates["bare"], "completions/s", None),
        ("our actors", rates["ours"], "completions/s", None),
        ("ours over bare", ratio, "times", target),
    ]
    return [
        Result(name=f"{name}: {what}", value=value, unit=unit, target=bound, command=COMMAND)
        for what, value, unit, bound in figures
    ]


async def _pool(worker: Any) -> RolloutPool:
    async def say(kind: str, message: str) -> None:
        print(kind, message)

    pool = RolloutPool([worker], ROLLOUT, on_event=say)
    pool.start()
    await pool.all_started()
    await pool.note_pushed(pool.live_workers(), 0)
    return pool


async def _completions(
    pool: RolloutPool, prompts: Sequence[Prompt], samplings: Sequence[Sampling]
) -> list[list[Completion]]:
    found: dict[int, list[Completion]] = {}

    def deliver(index: int, completions: list[Completion], version: int) -> None:
        found[index] = completions

    await pool.generate(prompts, samplings, oldest=0, deliver=deliver)
    return [found[index] for index in range(len(prompts))]


def _check_same(outputs: Sequence[Any], completions: Sequence[Sequence[Completion]]) -> None:
    """Check that both ways generated the same tokens, and so did the same work."""
    tokens: Callable[[Any], tuple[int, ...]] = lambda choice: tuple(choice.token_ids)  # noqa: E731
    for output, group in zip(outputs, completions, strict=True):
        assert {tokens(choice) for choice in output.outputs} == {tokens(each) for each in group}


def _builder(model: Path) -> PromptBuilder:
    from transformers import AutoConfig, AutoProcessor

    return PromptBuilder(
        AutoProcessor.from_pretrained(model), AutoConfig.from_pretrained(model), max_prompt_tokens=500
    )


def _prompts(builder: PromptBuilder, count: int, *, seed: int) -> list[tuple[EngineInput, ModelInput]]:
    rng = np.random.default_rng(seed)
    clips = [
        Clip(rng.integers(0, 256, (NUM_FRAMES, SIDE_PX, SIDE_PX, 3), np.uint8), np.arange(NUM_FRAMES) / 2)
        for _ in range(count)
    ]
    return [builder.build(system="Answer directly.", content=(0, "When?"), clips=[clip]) for clip in clips]


def _meta(index: int) -> PromptMeta:
    recipe = Recipe("grounding", "a.mp4", "pyav", (0, 1), (0.0, 0.5), SIDE_PX, SIDE_PX, {}, 0, "0-1")
    return PromptMeta("train", index, "grounding", "When?", "0-1", recipe, 0, ())


def _options(model: Path) -> EngineOptions:
    return EngineOptions(
        model=str(model),
        rollout=ROLLOUT,
        device="cpu",
        seed=0,
        max_model_len=600,
        max_videos=1,
        weight_transfer="gloo",
        shares_gpus=False,
    )


if __name__ == "__main__":
    main()
