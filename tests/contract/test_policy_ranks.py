"""`DeepSpeedPolicy` takes the same updates however many ranks, micro-batches and ZeRO stages carry them."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoProcessor

from learner.advantages import group_advantages
from learner.batch import TrainingGroup
from learner.model import ModelSpec, load_model
from learner.tiny import create_tiny_model
from pretext.recipe import Clip
from rollout.prompt import ModelInput, PromptBuilder, forbidden_token_ids
from tests.contract.policy_ranks import Job, Outcome, Weights, by_hand, run_ranks

WHOLE = 64  # one micro-batch holds every row of a rank
ON_POLICY = [
    Job(zero_stage=1, micro_batch_size=WHOLE),
    Job(zero_stage=2, micro_batch_size=WHOLE),
    Job(zero_stage=2, micro_batch_size=2),
    Job(zero_stage=3, micro_batch_size=2),
    Job(zero_stage=2, micro_batch_size=4, shared_prefix=True),
    Job(zero_stage=3, micro_batch_size=4, shared_prefix=True),
]
TWICE = [
    Job(zero_stage=2, micro_batch_size=2, updates_per_batch=2),
    Job(zero_stage=3, micro_batch_size=4, updates_per_batch=2),
]
Outcomes = dict[Job, list[Outcome]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    path = create_tiny_model(folder / "model", corpus=["Answer directly. When? 0123456789 seconds"])
    processor, config = AutoProcessor.from_pretrained(path), AutoConfig.from_pretrained(path)
    return ModelSpec(
        path=str(path),
        dtype="float32",
        attention="sdpa",
        pad_token_id=processor.tokenizer.pad_token_id,
        forbidden=forbidden_token_ids(processor.tokenizer, config.text_config.vocab_size),
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        temperature=0.9,
    )


@pytest.fixture(scope="module")
def reference(folder: Path) -> str:
    """Another model than the policy, so that the KL has something to say from the first update on."""
    corpus = ["Answer directly. When? 0123456789 seconds"]
    return str(create_tiny_model(folder / "reference", corpus=corpus, seed=1))


@pytest.fixture(scope="module")
def batches(spec: ModelSpec) -> list[list[TrainingGroup]]:
    """Two batches of five groups of three: two ranks share them 3 to 2, and one group has no spread."""
    path = Path(spec.path)
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(path), AutoConfig.from_pretrained(path), max_prompt_tokens=200
    )
    rng = np.random.default_rng(0)
    allowed = [id for id in range(300) if id not in spec.forbidden]

    def group(index: int) -> TrainingGroup:
        frames = 2 * (1 + index % 2)
        clip = Clip(rng.integers(0, 256, (frames, 64, 64, 3), np.uint8), np.arange(frames) / 2)
        _, prompt = builder.build(system="", content=(0, "When?" * index), clips=[clip])
        completions = tuple(tuple(rng.choice(allowed, size=1 + n + index % 3).tolist()) for n in range(3))
        rewards = [0.5] * 3 if index == 3 else rng.random(3).tolist()
        return TrainingGroup(
            fetch_prompt=partial(_same, prompt),
            completions=completions,
            rollout_logprobs=tuple(tuple(-5.0 for _ in completion) for completion in completions),
            advantages=tuple(group_advantages(rewards, tolerance=1e-6)),
        )

    return [[group(index) for index in range(5)] for _ in range(2)]


def _same(prompt: ModelInput) -> ModelInput:
    return prompt


@pytest.fixture(scope="module", params=[1, 2], ids=["1 rank", "2 ranks"])
def outcomes(
    request: pytest.FixtureRequest,
    folder: Path,
    spec: ModelSpec,
    reference: str,
    batches: list[list[TrainingGroup]],
) -> Outcomes:
    scratch = folder / f"world{request.param}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    return run_ranks([*ON_POLICY, *TWICE], batches, spec, reference, world_size=request.param, folder=scratch)


@pytest.fixture(scope="module")
def plain(spec: ModelSpec, reference: str, batches: list[list[TrainingGroup]]) -> dict[int, Outcome]:
    """By number of updates per batch."""
    return {count: by_hand(batches, spec, reference, updates_per_batch=count) for count in (1, 2)}


def distance(found: Weights, expected: Weights) -> float:
    """Norm of the difference over the norm of the weights.

    A bias of the keys shifts all scores of a query alike, so its gradient is 0 but for rounding, which AdamW
    blows up to steps of full size: left out.
    """
    assert found.keys() == expected.keys()
    difference = norm = 0.0
    for name, value in expected.items():
        gap = (found[name] - value).double()
        if name.endswith("attn.qkv.bias"):
            third = len(value) // 3
            gap[third : 2 * third] = 0
        difference += float(gap.square().sum())
        norm += float(value.double().square().sum())
    return (difference / norm) ** 0.5


def check(outcomes: Sequence[Outcome], expected: Outcome) -> None:
    for outcome in outcomes:
        for found, metrics in zip(outcome.metrics, expected.metrics, strict=True):
            for name, value in metrics.items():
                assert found[name] == pytest.approx(value, rel=5e-6, abs=1e-6), name
        assert distance(outcome.weights, expected.weights) < 1e-6


@pytest.mark.parametrize("job", ON_POLICY, ids=str)
def test_updates_are_those_of_plain_torch(outcomes: Outcomes, plain: dict[int, Outcome], job: Job) -> None:
    check(outcomes[job], plain[1])
    assert outcomes[job][0].metrics[0]["policy/clip_share"] == 0  # on policy, nothing can be clipped


@pytest.mark.parametrize("job", TWICE, ids=str)
def test_two_updates_per_batch_clip_against_the_policy_before_both(
    outcomes: Outcomes, plain: dict[int, Outcome], job: Job
) -> None:
    check(outcomes[job], plain[2])
    assert outcomes[job][0].metrics[0]["policy/clip_share"] > 0
    assert distance(plain[1].weights, plain[2].weights) > 1e-4


def test_the_updates_moved_every_weight_by_far_more_than_the_tolerance(
    spec: ModelSpec, plain: dict[int, Outcome]
) -> None:
    start = {name: value.detach() for name, value in load_model(spec).named_parameters()}
    assert distance(plain[1].weights, start) > 1e-3
    assert all(not torch.equal(value, start[name]) for name, value in plain[1].weights.items())


def test_every_rank_reports_the_same(outcomes: Outcomes) -> None:
    for by_rank in outcomes.values():
        for outcome in by_rank:
            assert outcome.metrics == by_rank[0].metrics
            assert all(torch.equal(outcome.weights[name], w) for name, w in by_rank[0].weights.items())
