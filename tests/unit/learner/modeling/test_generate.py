"""Tests that completions generated with a cache come from the distribution that the learner trains."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from learner.batch import PromptWithCompletions, collate
from learner.modeling.generate import generate_completions
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model
from learner.modeling.tiny import create_tiny_model

VISION_START, VISION_END, VIDEO_PAD, END = 3, 4, 7, 2  # ids of the tiny tokenizer's special tokens
FIRST_ROW_PAST_THE_BYTES = 260


@dataclass(frozen=True)
class Prompt:
    token_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    next_position: int
    patches: npt.NDArray[np.uint8]
    grid_thw: npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder: Path = create_tiny_model(tmp_path_factory.mktemp("model") / "tiny", corpus=["Is it bright?"])
    num_rows = load_model(_spec(folder, ())).config.text_config.vocab_size
    return _spec(folder, (*range(VISION_START, 8), *range(FIRST_ROW_PAST_THE_BYTES, num_rows)))


def _spec(folder: Path, forbidden: tuple[int, ...]) -> ModelSpec:
    half = (0.5, 0.5, 0.5)
    return ModelSpec(str(folder), "float32", "sdpa", 0, forbidden, half, half, temperature=0.5)


def _prompt(level: int, num_words: int) -> Prompt:
    ids = np.array([VISION_START, *[VIDEO_PAD] * 4, VISION_END, *range(40, 40 + num_words)])
    positions = np.tile(np.arange(len(ids)), (3, 1))
    positions[1] += 5  # so that they differ from the positions that the model would compute
    patches = np.full((16, 3 * 2 * 16 * 16), level, np.uint8)
    return Prompt(ids, positions, len(ids) + 7, patches, np.array([[1, 4, 4]]))


def test_greedy_tokens_are_those_of_the_highest_logprob(spec: ModelSpec) -> None:
    model = load_model(spec).eval()
    policy = PolicyModel(model, spec, shared_prefix=True)
    prompts = [_prompt(230, num_words=3), _prompt(20, num_words=9)]
    completions = generate_completions(model, spec, prompts, end_token_id=END, max_tokens=3, generator=None)
    allowed = [token for token in range(FIRST_ROW_PAST_THE_BYTES) if token not in spec.forbidden]
    for prompt, completion in zip(prompts, completions, strict=True):
        for length in range(1, len(completion) + 1):
            rows = [(*completion[: length - 1], token) for token in allowed]
            with torch.no_grad():
                logprobs, _ = policy(
                    collate([PromptWithCompletions(prompt, rows, [(0.0,) * length] * len(rows))])
                )
            assert allowed[int(logprobs.view(-1, length)[:, -1].argmax())] == completion[length - 1]


def test_completions_of_one_prompt_differ_and_repeat_with_the_same_seed(spec: ModelSpec) -> None:
    model = load_model(spec)
    prompts = [_prompt(230, num_words=3)] * 32

    def generate(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return generate_completions(model, spec, prompts, end_token_id=END, max_tokens=6, generator=generator)

    first = generate(3)
    assert first == generate(3)
    assert first != generate(4)
    assert len({tuple(completion) for completion in first}) > 1
    assert not {token for completion in first for token in completion} & {*spec.forbidden, END}
