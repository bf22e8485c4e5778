"""A short supervised warm-up that teaches a model of random weights what a completion looks like.

GRPO cannot raise the probability of a completion that is never generated, so a random model needs this first. A
released model does not. The warm-up has two parts, and each ends when held-out scores reach a target:

    form    the truths of *other* samples are learnt,   until `target_validity`
            so only their form can be learnt
    right   each sample's own truth is learnt           until `target_validity` and `target_score`

The form is taught first because a tiny model learns it more slowly than the right content: for example, that no digit
of a jigsaw's order occurs twice. If both were taught together, the content would be close to its ceiling by the time
the form is good enough, and GRPO would have nothing left to improve.
"""

import logging
import os
import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from learner.batch import PromptWithCompletions, collate
from learner.commands import PromptTensors
from learner.config import WarmupConfig
from learner.modeling.generate import generate_completions
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model

logger = logging.getLogger(__name__)

_KEPT_TRUTHS = 10_000  # per task; the default settings draw fewer in the part `form`

WarmupPhase = Literal["form", "right"]
ScoreCompletion = Callable[[str, str, str], tuple[float, bool]]  # (task, text, truth) -> (score, is valid)


@dataclass(frozen=True)
class WarmupSample:
    """A prompt and its truth."""

    task: str
    prompt: PromptTensors
    truth: str


@dataclass(frozen=True)
class TaskScore:
    """Means over a task's held-out samples, with one completion each at the spec's temperature."""

    score: float  # 0 to 1
    validity: float  # share of valid completions


@dataclass(frozen=True)
class WarmupProgress:
    """The result of one evaluation during the warm-up."""

    phase: WarmupPhase
    num_steps: int  # steps done so far
    loss: float  # nats per token of the completions, mean since the last evaluation
    scores: dict[str, TaskScore]  # by task
    reached: bool = False  # whether all targets of both parts are reached


def warm_up(
    spec: ModelSpec,
    config: WarmupConfig,
    *,
    samples: Mapping[str, Iterator[WarmupSample]],
    held_out: Sequence[WarmupSample],
    score: ScoreCompletion,
    seed: int,
    out: Path,
    report: Callable[[WarmupProgress], None] = lambda progress: None,
) -> WarmupProgress:
    """Train the model of `spec` and write it with its processor to `out`, which appears when it is complete.

    Args:
        samples: an endless stream of samples per task.
        held_out: at least one sample of each task, none of them in the streams. With 100 per task, the standard error
            of a score is 0.03.
        report: called after every evaluation.

    Returns:
        The last evaluation. Its `reached` is False if the warm-up ended at `max_steps`; the model is written even then.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(spec.path)
    model = load_model(spec)
    policy = PolicyModel(model, spec, shared_prefix=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.form_learning_rate, betas=config.adam_betas, weight_decay=0.0
    )
    batches = _Batches(samples, config, random.Random(seed))
    generator = torch.Generator().manual_seed(seed)
    phase: WarmupPhase = "form"
    losses: list[float] = []
    for step in range(1, config.max_steps + 1):
        losses.append(_step(policy, optimizer, config, processor.tokenizer, batches.draw(phase)))
        if step % config.eval_every and step < config.max_steps:
            continue
        scores = _evaluate(model, spec, config, processor.tokenizer, held_out, score, generator)
        progress = WarmupProgress(phase, step, sum(losses) / len(losses), scores)
        report(progress)
        losses.clear()
        done = {task for task in samples if _is_at_target(scores[task], phase, config)}
        if done == set(samples):
            if phase == "right":
                progress = replace(progress, reached=True)
                break
            logger.info("warm-up: the form is learnt after %d steps", step)
            phase, done = "right", set()
            for group in optimizer.param_groups:
                group["lr"] = config.right_learning_rate
        batches.favour(set(samples) - done)
    logger.info("warm-up: ended after %d steps, targets reached: %s", progress.num_steps, progress.reached)
    _save(model, processor, out)
    return progress


class _Batches:
    """Batches of prompts with the completions to learn. Tasks below their target get most of the samples."""

    def __init__(
        self, samples: Mapping[str, Iterator[WarmupSample]], config: WarmupConfig, rng: random.Random
    ) -> None:
        self._samples, self._config, self._rng = samples, config, rng
        self._weights = dict.fromkeys(samples, 1.0)
        # The latest truths drawn for "form", by task.
        self._truths: dict[str, deque[str]] = {task: deque(maxlen=_KEPT_TRUTHS) for task in samples}

    def draw(self, phase: WarmupPhase) -> list[tuple[PromptTensors, list[str]]]:
        """Return prompts with their completions for one step."""
        config, rng = self._config, self._rng
        size = config.form_prompts if phase == "form" else config.right_samples
        tasks = list(self._samples)
        batch: list[tuple[PromptTensors, list[str]]] = []
        for task in rng.choices(tasks, [self._weights[task] for task in tasks], k=size):
            sample = next(self._samples[task])
            completions = [sample.truth]
            if phase == "form":
                self._truths[task].append(sample.truth)
                completions = [rng.choice(self._truths[task]) for _ in range(config.form_answers)]
            batch.append((sample.prompt, completions))
        return batch

    def favour(self, behind: set[str]) -> None:
        """Draw `catch_up` times more samples of the tasks in `behind` than of each other task."""
        self._weights = {task: self._config.catch_up if task in behind else 1.0 for task in self._samples}


def _is_at_target(score: TaskScore, phase: WarmupPhase, config: WarmupConfig) -> bool:
    return score.validity >= config.target_validity and (
        phase == "form" or score.score >= config.target_score
    )


def _step(
    policy: PolicyModel,
    optimizer: torch.optim.Optimizer,
    config: WarmupConfig,
    tokenizer: Any,
    batch: Sequence[tuple[PromptTensors, Sequence[str]]],
) -> float:
    """Take one step on the completions' mean cross-entropy per token (end-of-turn included) and return that mean."""
    policy.train()
    parts = []
    for prompt, completions in batch:
        ids = [
            (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
            for text in completions
        ]
        parts.append(PromptWithCompletions(prompt, ids, [(0.0,) * len(tokens) for tokens in ids]))
    logprobs, _ = policy(collate(parts))
    loss: Any = -logprobs.mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _evaluate(
    model: Any,
    spec: ModelSpec,
    config: WarmupConfig,
    tokenizer: Any,
    held_out: Sequence[WarmupSample],
    score: ScoreCompletion,
    generator: torch.Generator,
) -> dict[str, TaskScore]:
    """Generate a completion for every held-out sample and return each task's mean score and validity."""
    completions = generate_completions(
        model,
        spec,
        [sample.prompt for sample in held_out],
        end_token_id=tokenizer.eos_token_id,
        max_tokens=config.max_answer_tokens,
        generator=generator,
    )
    found: dict[str, list[tuple[float, bool]]] = {}
    for sample, ids in zip(held_out, completions, strict=True):
        text = tokenizer.decode(ids, skip_special_tokens=False)
        found.setdefault(sample.task, []).append(score(sample.task, text, sample.truth))
    return {
        task: TaskScore(sum(s for s, _ in pairs) / len(pairs), sum(v for _, v in pairs) / len(pairs))
        for task, pairs in found.items()
    }


def _save(model: Any, processor: Any, out: Path) -> None:
    """Write model and processor to a temporary folder and rename it to `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        partial = Path(scratch) / out.name
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        os.replace(partial, out)
