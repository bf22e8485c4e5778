"""Engines that tests share, and prompts whose completions show which weights an engine holds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from pretext.recipe import Clip
from rollout.engine import Completion, Sampling
from rollout.prompt import EngineInput, PromptBuilder
from tests.contract.engine_process import EngineProcess, engine_options
from weight_sync.sender import WeightSender

SAMPLING = Sampling(num_completions=4, temperature=1.0, max_tokens=8, seed=3)
State = dict[str, torch.Tensor]
Answers = Sequence[Sequence[Completion]]


class GivenWeights:
    """A policy with given weights (it implements weight_sync.sender.PushedPolicy)."""

    rank = 0
    device = torch.device("cpu")

    def __init__(self, start: State, trained: Mapping[str, torch.Tensor]) -> None:
        self._state, self._trained = start | dict(trained), set(trained)

    def named_parameters(self, *, trained_only: bool) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self._state.items():
            if not trained_only or name in self._trained:
                yield name, tensor

    def parameter_shapes(self, *, trained_only: bool) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        pairs = self.named_parameters(trained_only=trained_only)
        return [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in pairs]


def load_model(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)


def state_of(folder: Path) -> State:
    """Return the weights of the model in `folder`."""
    return {name: parameter.detach() for name, parameter in load_model(folder).named_parameters()}


def probe_prompts(folder: Path) -> list[EngineInput]:
    """Return two short prompts, each with one video."""
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=2000
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 64, 64, 3), dtype=np.uint8)
    clips = [Clip(each, 0.5 * np.arange(8)) for each in frames]
    return [builder.build(system="", content=("When?", 0), clips=[clip])[0] for clip in clips]


def same_completions(a: Answers, b: Answers) -> bool:
    """Return whether token ids are equal, and logprobs equal to 1e-5."""
    pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    return all(
        x.token_ids == y.token_ids and np.allclose(x.logprobs, y.logprobs, rtol=0, atol=1e-5)
        for x, y in pairs
    )


@dataclass
class _Started:
    engine: EngineProcess
    prompts: list[EngineInput]
    completions: Answers  # of the probe prompts, before any push


class Engines:
    """One engine for each model folder, started when a test first asks for it."""

    def __init__(self) -> None:
        self._started: dict[Path, _Started] = {}

    @contextmanager
    def lend(self, folder: Path) -> Iterator[EngineProcess]:
        """Lend the engine of `folder`, and push the start weights to it when the block ends.

        The test fails if the engine then does not generate the same completions as when it was new. After a failure
        the next test gets a new engine.
        """
        if folder not in self._started:
            engine, prompts = EngineProcess(engine_options(str(folder))), probe_prompts(folder)
            self._started[folder] = _Started(engine, prompts, engine.generate(prompts, SAMPLING))
        started = self._started[folder]
        try:
            yield started.engine
            sender = WeightSender(GivenWeights(state_of(folder), {}), backend="gloo", timeout_s=600)
            sender.send(started.engine)
            sender.close()
            restored = started.engine.generate(started.prompts, SAMPLING)
            assert same_completions(restored, started.completions), "the engine lacks the start weights"
        except BaseException:
            self._started.pop(folder).engine.close()
            raise

    def close(self) -> None:
        while self._started:
            self._started.popitem()[1].engine.close()
