"""`DeepSpeedPolicy` takes the same updates with any number of ranks, micro-batches and any ZeRO stage."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from transformers import AutoConfig, AutoProcessor

from learner.commands import TrainingGroup
from learner.config import DifficultyConfig, LoraConfig
from learner.modeling.policy_model import ModelSpec, load_model
from learner.modeling.tiny import create_tiny_model
from pretext.recipe import Clip
from rollout.prompt import ModelInput, PromptBuilder, forbidden_token_ids
from tests.contract.policy_ranks import Job, Outcome, Weights, by_hand, run_ranks

SMALL = 60  # tokens in a micro-batch, at most: it holds no more than one group, and some groups are divided
PLAIN = (("zero_stage", 1), ("shared_prefix", False))
WHOLE = (("zero_stage", 2),)
CUT_UP = (("zero_stage", 2), ("max_micro_batch_tokens", SMALL))
SHARDED = (("zero_stage", 3), ("max_micro_batch_tokens", SMALL), ("gradient_checkpointing", True))
ALONE = [Job(PLAIN), Job(WHOLE), Job(CUT_UP, saved=True), Job(SHARDED, saved=True)]  # also on one rank
OTHER_WAYS = [
    Job((("zero_stage", 3), ("shared_prefix", False), ("max_micro_batch_tokens", SMALL))),
    Job((("zero_stage", 2), ("offload", "optimizer"))),
    Job((("zero_stage", 3), ("offload", "all"), ("max_micro_batch_tokens", SMALL))),
]
TWICE = {way: Job(way, (("updates_per_batch", 2),)) for way in (CUT_UP, SHARDED)}
# Other tests check what each algorithm computes. Here each must compute the same however a batch is divided.
FAMILIES = {
    name: {way: Job(way, grpo) for way in (PLAIN, CUT_UP, SHARDED)}
    for name, grpo in {
        "gspo": (("ratio", "sequence"), ("aggregation", "sequence"), ("importance", "sequence")),
        "dr_grpo": (("advantage", "dr_grpo"), ("aggregation", "constant"), ("mask_truncated", True)),
        "rloo, k1 in the reward": (("advantage", "rloo"), ("kl_in", "reward"), ("kl_estimator", "k1")),
        "entropy, difficulty": (("entropy_coef", 0.1), ("difficulty", DifficultyConfig(group_exponent=1.0))),
    }.items()
}
# Without a KL term, groups without spread are left out. With a negligible KL term they are computed.
WITHOUT_KL = [Job(CUT_UP, (("kl_coef", kl_coef),)) for kl_coef in (0.0, 1e-12)]
PARTLY = {
    name: {way: Job((*changes, *way), saved=way is not PLAIN) for way in (PLAIN, CUT_UP, SHARDED)}
    for name, changes in {
        "frozen vision": (("freeze_vision", True),),
        "lora": (("lora", LoraConfig(rank=4)), ("learning_rate", 1e-2)),
    }.items()
}
# The jobs of a list are computed in the same processes. Jobs with ZeRO-3 are slow on a CPU, so most of them are in
# LONG, which only tests marked `long` need.
QUICK = [
    *ALONE,
    TWICE[CUT_UP],
    *WITHOUT_KL,
    *(jobs[way] for jobs in (FAMILIES | PARTLY).values() for way in (PLAIN, CUT_UP)),
]
LONG = [*OTHER_WAYS, TWICE[SHARDED], *(jobs[SHARDED] for jobs in (FAMILIES | PARTLY).values())]


class Outcomes:
    """The outcomes of two ranks, by job. The first use of a job computes all jobs of its list."""

    def __init__(self, compute: Callable[[list[Job]], dict[Job, list[Outcome]]]) -> None:
        self._compute, self._found = compute, dict[Job, list[Outcome]]()

    def __getitem__(self, job: Job) -> list[Outcome]:
        if job not in self._found:
            self._found |= self._compute(QUICK if job in QUICK else LONG)
        return self._found[job]


def long_if(is_long: bool, *values: object, id: str) -> ParameterSet:
    return pytest.param(*values, marks=[pytest.mark.long] if is_long else [], id=id)


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
    """Return a model that differs from the policy, so that the KL is positive from the first update on."""
    corpus = ["Answer directly. When? 0123456789 seconds"]
    return str(create_tiny_model(folder / "reference", corpus=corpus, seed=1))


@pytest.fixture(scope="module")
def batches(spec: ModelSpec) -> list[list[TrainingGroup]]:
    """Return two batches of five groups of three completions. One group has no spread.

    Two ranks get three and two groups.
    """
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
            group_id=str(index),
            task="grounding" if index % 2 else "jigsaw",
            fetch_prompt=partial(_same, prompt),
            prompt_tokens=len(prompt.token_ids),
            completions=completions,
            rollout_logprobs=tuple(tuple(-5.0 for _ in completion) for completion in completions),
            rewards=tuple(rewards),
            truncated=(index % 2 == 0, False, False),
            policy_version=0,
        )

    return [[group(index) for index in range(5)] for _ in range(2)]


def _same(prompt: ModelInput) -> ModelInput:
    return prompt


@pytest.fixture(scope="module")
def alone(
    folder: Path, spec: ModelSpec, reference: str, batches: list[list[TrainingGroup]]
) -> dict[Job, list[Outcome]]:
    """Return the outcomes of the jobs on one rank."""
    (scratch := folder / "world1").mkdir()
    return run_ranks(ALONE, batches, spec, reference, world_size=1, folder=scratch)


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory,
    spec: ModelSpec,
    reference: str,
    batches: list[list[TrainingGroup]],
) -> Outcomes:
    def compute(jobs: list[Job]) -> dict[Job, list[Outcome]]:
        scratch = tmp_path_factory.mktemp("world2")
        return run_ranks(jobs, batches, spec, reference, world_size=2, folder=scratch)

    return Outcomes(compute)


@pytest.fixture(scope="module")
def plain(spec: ModelSpec, reference: str, batches: list[list[TrainingGroup]]) -> dict[int, Outcome]:
    """Return the weights after the updates in plain torch, by number of updates per batch."""
    return {count: by_hand(batches, spec, reference, updates_per_batch=count) for count in (1, 2)}


def distance(found: Weights, expected: Weights) -> float:
    """Return the norm of the difference divided by the norm of the weights, without the biases of the keys.

    A key's bias shifts all scores of a query equally, so its gradient is 0 except for rounding errors. AdamW scales
    these up to steps of full size.
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
                shares = found["policy/clip_low_share"] + found["policy/clip_high_share"]
                number = shares if name == "clipped" else found[name]
                assert number == pytest.approx(value, rel=1e-5, abs=2e-6), name
        assert distance(outcome.weights, expected.weights) < 1e-6
        if outcome.restored is not None:
            assert all(torch.equal(outcome.restored[name], w) for name, w in outcome.weights.items())


@pytest.mark.parametrize("job", [long_if(job in LONG, job, id=str(job)) for job in [*ALONE, *OTHER_WAYS]])
def test_updates_are_those_of_plain_torch(
    alone: dict[Job, list[Outcome]], outcomes: Outcomes, plain: dict[int, Outcome], job: Job
) -> None:
    if job in ALONE:
        check(alone[job], plain[1])
    check(outcomes[job], plain[1])
    assert outcomes[job][0].metrics[0]["policy/clip_low_share"] == 0  # on policy, nothing can be clipped


@pytest.mark.parametrize("job", [long_if(job in LONG, job, id=str(job)) for job in TWICE.values()])
def test_two_updates_per_batch_clip_against_the_policy_before_both(
    outcomes: Outcomes, plain: dict[int, Outcome], job: Job
) -> None:
    check(outcomes[job], plain[2])
    assert outcomes[job][0].metrics[0]["policy/clip_high_share"] > 0
    assert distance(plain[1].weights, plain[2].weights) > 1e-4


@pytest.mark.parametrize(
    ("family", "way"),
    [
        long_if(way is SHARDED, family, way, id=f"{family}, {'sharded' if way is SHARDED else 'cut up'}")
        for family in FAMILIES | PARTLY
        for way in (CUT_UP, SHARDED)
    ],
)
def test_no_way_of_dividing_a_batch_changes_the_update(
    outcomes: Outcomes, family: str, way: tuple[tuple[str, object], ...]
) -> None:
    jobs = (FAMILIES | PARTLY)[family]
    check(outcomes[jobs[way]], outcomes[jobs[PLAIN]][0])


def test_leaving_out_a_group_without_spread_changes_nothing(outcomes: Outcomes) -> None:
    short, whole = (outcomes[job][0] for job in WITHOUT_KL)
    assert distance(short.weights, whole.weights) < 1e-6
    for found, expected in zip(short.metrics, whole.metrics, strict=True):
        assert found["policy/tokens"] < expected["policy/tokens"]
        assert found["policy/loss"] == pytest.approx(expected["policy/loss"], abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_algorithm_gives_a_different_update(
    outcomes: Outcomes, plain: dict[int, Outcome], family: str
) -> None:
    assert distance(outcomes[FAMILIES[family][PLAIN]][0].weights, plain[1].weights) > 1e-5


@pytest.mark.parametrize("family", PARTLY)
def test_frozen_weights_do_not_change(outcomes: Outcomes, spec: ModelSpec, family: str) -> None:
    start = {name: value.detach() for name, value in load_model(spec).named_parameters()}
    found = outcomes[PARTLY[family][CUT_UP]][0].weights
    assert found.keys() == start.keys()
    moved = {name for name, value in found.items() if not torch.equal(value, start[name])}
    adapted = {name for name in start if "language_model.layers" in name and name.endswith("_proj.weight")}
    assert moved == (adapted if family == "lora" else {name for name in start if "visual" not in name})


def test_the_updates_moved_every_weight_by_far_more_than_the_tolerance(
    spec: ModelSpec, plain: dict[int, Outcome]
) -> None:
    start = {name: value.detach() for name, value in load_model(spec).named_parameters()}
    assert distance(plain[1].weights, start) > 1e-3
    assert all(not torch.equal(value, start[name]) for name, value in plain[1].weights.items())


@pytest.mark.parametrize("jobs", [long_if(False, QUICK, id="quick"), long_if(True, LONG, id="long")])
def test_every_rank_reports_the_same(outcomes: Outcomes, jobs: list[Job]) -> None:
    for job in jobs:
        by_rank = outcomes[job]
        for outcome in by_rank:
            assert outcome.metrics == by_rank[0].metrics
            assert all(torch.equal(outcome.weights[name], w) for name, w in by_rank[0].weights.items())
