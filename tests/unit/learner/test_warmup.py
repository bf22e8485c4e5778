"""Tests of the warm-up with a toy task: the truth is 1 for a bright video and 2 for a dark one."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from transformers import AutoProcessor

from learner.modeling.generate import generate_completions
from learner.modeling.policy_model import ModelSpec, load_model
from learner.modeling.tiny import create_tiny_model
from learner.warmup import WarmupConfig, WarmupProgress, WarmupSample, _Batches, warm_up
from tests.unit.learner.fake_groups import prompt


@dataclass(frozen=True)
class Prompt:
    token_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    next_position: int
    patches: npt.NDArray[np.uint8]
    grid_thw: npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    folder = create_tiny_model(tmp_path_factory.mktemp("model") / "tiny", corpus=["Is it bright?"])
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    rows = load_model(_spec(folder, ())).config.text_config.vocab_size
    vision = range(tokenizer.convert_tokens_to_ids("<|vision_start|>"), 8)
    return _spec(folder, (*vision, *range(len(tokenizer), rows)))


def _spec(folder: Path, forbidden: tuple[int, ...]) -> ModelSpec:
    half = (0.5, 0.5, 0.5)
    return ModelSpec(str(folder), "float32", "sdpa", 0, forbidden, half, half, 1.0)


def _prompt(spec: ModelSpec, level: int, question: str = "Is it bright?") -> Prompt:
    tokenizer = AutoProcessor.from_pretrained(spec.path).tokenizer
    ids = np.array(tokenizer.encode("<|vision_start|>" + "<|video_pad|>" * 4 + "<|vision_end|>" + question))
    positions = np.tile(np.arange(len(ids)), (3, 1))
    positions[1] += 5  # so that they differ from the positions that the model would compute
    patches = np.full((16, 3 * 2 * 16 * 16), level, np.uint8)
    return Prompt(ids, positions, len(ids) + 7, patches, np.array([[1, 4, 4]]))


def _samples(spec: ModelSpec) -> list[WarmupSample]:
    levels = ((230, "1"), (200, "1"), (20, "2"), (50, "2"))
    return [WarmupSample("light", _prompt(spec, level), truth) for level, truth in levels]


def _score(task: str, text: str, truth: str) -> tuple[float, bool]:
    return float(text == truth), text in ("1", "2")


def _stream(samples: list[WarmupSample]) -> Iterator[WarmupSample]:
    order = np.random.default_rng(0)
    while True:
        yield samples[int(order.integers(len(samples)))]


def test_the_warm_up_ends_at_its_target_score_and_writes_a_folder_that_loads(
    spec: ModelSpec, tmp_path: Path
) -> None:
    samples = _samples(spec)
    evaluations: list[WarmupProgress] = []
    config = WarmupConfig(form_prompts=4, right_samples=16, target_score=0.8, eval_every=5, max_steps=300)
    out = tmp_path / "warm"

    end = warm_up(
        spec,
        config,
        samples={"light": _stream(samples)},
        held_out=samples * 8,
        score=_score,
        seed=0,
        out=out,
        report=evaluations.append,
    )

    assert end.reached
    assert evaluations[-1].scores == end.scores
    assert end.num_steps < config.max_steps
    assert end.scores["light"].score >= 0.8
    assert evaluations[-1].loss < evaluations[0].loss / 4
    phases = [name for name, _ in itertools.groupby(each.phase for each in evaluations)]
    assert phases == ["form", "right"]
    # While the form is taught, the model learns truths of other samples, so its completions are right only by chance.
    last_of_form = [each for each in evaluations if each.phase == "form"][-1].scores["light"]
    assert last_of_form.validity >= 0.9
    assert last_of_form.score < 0.8

    warm = _spec(out, spec.forbidden)
    tokenizer = AutoProcessor.from_pretrained(out).tokenizer
    completions = generate_completions(
        load_model(warm),
        warm,
        [sample.prompt for sample in samples],
        end_token_id=tokenizer.eos_token_id,
        max_tokens=4,
        generator=None,
    )
    assert [tokenizer.decode(ids) for ids in completions] == [sample.truth for sample in samples]
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]


def test_the_form_is_taught_with_the_latest_truths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.warmup._KEPT_TRUTHS", 3)
    video = prompt(3, patches=1, next_position=3)
    samples = (WarmupSample("light", video, str(number)) for number in itertools.count())
    config = WarmupConfig(form_prompts=1, form_answers=64)
    batches = _Batches({"light": samples}, config, random.Random(0))
    for _ in range(10):
        ((_, completions),) = batches.draw("form")
    assert set(completions) == {"7", "8", "9"}


def test_the_warm_up_ends_at_max_steps_and_writes_the_model_even_below_its_targets(
    spec: ModelSpec, tmp_path: Path
) -> None:
    samples = _samples(spec)
    last = warm_up(
        spec,
        WarmupConfig(form_prompts=2, eval_every=2, max_steps=3),
        samples={"light": _stream(samples)},
        held_out=samples,
        score=_score,
        seed=0,
        out=tmp_path / "warm",
    )
    assert (last.num_steps, last.reached) == (3, False)
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]
