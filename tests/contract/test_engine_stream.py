"""Tests of `VllmEngine.stream`: it yields prompts as they finish, and closing it early leaves nothing in the engine."""

from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoProcessor

from pretext.recipe import Clip
from rollout.engine import Sampling, VllmEngine
from rollout.prompt import EngineInput, PromptBuilder
from tests.conftest import TinyFolder
from tests.contract.engines import Engines

LONG, SHORT = (Sampling(3, 1.0, tokens, seed=5) for tokens in (24, 1))
SAMPLINGS = [LONG, SHORT, SHORT]


def _inputs(folder: Path) -> list[EngineInput]:
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=512
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 64, 64, 3), dtype=np.uint8)
    return [
        builder.build(system="", content=("When?", 0), clips=[Clip(frames[n], np.arange(4) / 2)])[0]
        for n in range(3)
    ]


def _stream_and_close(engine: VllmEngine, inputs: list[EngineInput]) -> dict[str, Any]:
    """Read a stream to its end, close a second one after its first result, then generate.

    This function runs in the engine's process.
    """
    streamed = [group for groups in engine.stream(inputs, SAMPLINGS) for group in groups]
    closed_early = engine.stream(inputs, SAMPLINGS)
    first = next(closed_early)
    closed_early.close()
    return {
        "streamed": streamed,
        "first": first,
        "unfinished": engine._llm.llm_engine.get_num_unfinished_requests(),
        "idle": engine._llm.reset_prefix_cache(),  # False while the scheduler holds requests
        "generated": engine.generate(inputs, SAMPLINGS),
    }


def test_prompts_come_as_they_finish_and_a_closed_stream_leaves_nothing(
    engine_model: TinyFolder, engines: Engines
) -> None:
    folder = engine_model("qwen3_vl")
    with engines.lend(folder) as engine:
        found = engine.run(_stream_and_close, _inputs(folder))
    streamed = found["streamed"]
    assert [index for index, _ in streamed][-1] == 0  # the longest one finishes last
    assert {index for index, _ in streamed} == {0, 1, 2}
    assert all(len(completions) == 3 for _, completions in streamed)
    assert {index for index, _ in found["first"]} <= {1, 2}
    assert (found["unfinished"], found["idle"]) == (0, True)
    # After the closed stream the same seeds give the same completions, in the order of the prompts.
    assert found["generated"] == [completions for _, completions in sorted(streamed)]
