"""What `VllmEngine.stream` relies on: prompts come as they are finished, and an abandoned stream leaves nothing."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoProcessor

from learner.modeling.tiny import create_tiny_model
from pretext.recipe import Clip
from rollout.engine import EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput, PromptBuilder
from tests.contract.engine_process import engine_options

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


def _answer(pipe: Connection, options: EngineOptions, inputs: list[EngineInput]) -> None:
    """In a process of its own: an engine stays in the process that made it."""
    engine = VllmEngine(options)
    said: dict[str, Any] = {
        "streamed": [group for groups in engine.stream(inputs, SAMPLINGS) for group in groups]
    }
    abandoned = engine.stream(inputs, SAMPLINGS)
    said["first"] = next(abandoned)
    abandoned.close()
    said["left"] = engine._llm.llm_engine.get_num_unfinished_requests()
    said["idle"] = engine._llm.reset_prefix_cache()  # refused while the scheduler holds requests
    said["after"] = engine.generate(inputs, SAMPLINGS)
    pipe.send(said)


def test_prompts_come_as_they_are_finished_and_an_abandoned_stream_leaves_nothing(tmp_path: Path) -> None:
    folder = create_tiny_model(tmp_path / "tiny", corpus=["When? Order them: 0123456789"])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, engine_options(str(folder)), _inputs(folder))
    process = context.Process(target=_answer, args=arguments, daemon=True)
    process.start()
    try:
        assert ours.poll(240), "the engine process did not answer"
        said = ours.recv()
    finally:
        process.kill()
    streamed = said["streamed"]
    assert [index for index, _ in streamed][-1] == 0  # the long ones are finished last
    assert {index for index, _ in streamed} == {0, 1, 2}
    assert all(len(completions) == 3 for _, completions in streamed)
    assert {index for index, _ in said["first"]} <= {1, 2}
    assert (said["left"], said["idle"]) == (0, True)
    # The same seeds give the same answers, whatever was abandoned before, now in the order of the prompts.
    assert said["after"] == [completions for _, completions in sorted(streamed)]
