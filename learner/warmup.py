"""A short supervised warm-up: a model of random weights learns what an answer looks like.

GRPO cannot raise the probability of an answer that is never sampled, so a random model needs this first; a
released model does not. It goes in two phases, and each ends on a score, not on a time:

    form    answers of *other* samples: only their form can be learnt   until `target_validity` (sampled)
    right   each sample's own answer                                    until `target_score` as well

Form comes first because a tiny model is slower to learn it (that no digit of an order comes twice, say) than
to learn the right answers: taught both at once, it is near its ceiling when its form is good, and leaves
nothing for GRPO to show.
"""

import os
import random
import tempfile
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

Phase = Literal["form", "right"]
Score = Callable[[str, str, str], tuple[float, bool]]  # (task, reply, answer) -> (score, has the right form)


@dataclass(frozen=True)
class WarmupSample:
    """A prompt and its true answer."""

    task: str
    prompt: PromptTensors
    answer: str


@dataclass(frozen=True)
class TaskScore:
    """Means over a task's held-out samples, each answered once at the sampler's temperature."""

    score: float
    validity: float


@dataclass(frozen=True)
class WarmupProgress:
    """One look at the scores."""

    phase: Phase
    num_steps: int  # done so far
    loss: float  # nats per answer token, mean since the last look
    scores: dict[str, TaskScore]
    reached: bool = False  # every target of both phases


def warm_up(
    spec: ModelSpec,
    config: WarmupConfig,
    *,
    samples: Mapping[str, Iterator[WarmupSample]],
    held_out: Sequence[WarmupSample],
    score: Score,
    seed: int,
    out: Path,
    report: Callable[[WarmupProgress], None] = lambda progress: None,
) -> WarmupProgress:
    """Train the model of `spec` and write it with its processor to `out`, which appears when it is complete.

    Args:
        samples: of each task, an endless stream.
        held_out: at least one sample of each task, not in the streams; 100 of each give scores to ±0.03.
        report: is told of every look at the scores.

    Returns:
        The last look; `reached` is False where `max_steps` came first. The model is written in any case.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(spec.path)
    model = load_model(spec)
    policy = PolicyModel(model, spec, shared_prefix=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.form_learning_rate, betas=config.adam_betas, weight_decay=0.0
    )
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    tasks = list(samples)
    phase: Phase = "form"
    weights = dict.fromkeys(tasks, 1.0)
    answers: dict[str, list[str]] = {task: [] for task in tasks}  # seen so far
    losses: list[float] = []
    for step in range(1, config.max_steps + 1):
        size = config.form_prompts if phase == "form" else config.right_samples
        batch: list[tuple[PromptTensors, list[str]]] = []
        for task in chance.choices(tasks, [weights[task] for task in tasks], k=size):
            sample = next(samples[task])
            answers[task].append(sample.answer)
            if phase == "right":
                batch.append((sample.prompt, [sample.answer]))
            else:
                others = [chance.choice(answers[task]) for _ in range(config.form_answers)]
                batch.append((sample.prompt, others))
        losses.append(_step(policy, optimizer, config, processor.tokenizer, batch))
        if step % config.eval_every and step < config.max_steps:
            continue
        scores = _sampled_scores(model, spec, config, processor.tokenizer, held_out, score, generator)
        progress = WarmupProgress(phase, step, sum(losses) / len(losses), scores)
        report(progress)
        losses.clear()
        there = {
            task
            for task in tasks
            if scores[task].validity >= config.target_validity
            and (phase == "form" or scores[task].score >= config.target_score)
        }
        if len(there) == len(tasks):
            if phase == "right":
                progress = replace(progress, reached=True)
                break
            phase, there = "right", set()
            for group in optimizer.param_groups:
                group["lr"] = config.right_learning_rate
        # Most of the work goes to the tasks that are behind; the others are only kept from forgetting.
        weights = {task: 1.0 if task in there else config.catch_up for task in tasks}
    _save(model, processor, out)
    return progress


def _step(
    policy: PolicyModel,
    optimizer: torch.optim.Optimizer,
    config: WarmupConfig,
    tokenizer: Any,
    batch: Sequence[tuple[PromptTensors, Sequence[str]]],
) -> float:
    """One step down the mean cross-entropy of the answers' tokens (end-of-turn included), which is returned."""
    policy.train()
    parts = []
    for prompt, answers in batch:
        ids = [
            (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id) for text in answers
        ]
        parts.append(PromptWithCompletions(prompt, ids, [(0.0,) * len(tokens) for tokens in ids]))
    logprobs, _ = policy(collate(parts))
    loss: Any = -logprobs.mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _sampled_scores(
    model: Any,
    spec: ModelSpec,
    config: WarmupConfig,
    tokenizer: Any,
    held_out: Sequence[WarmupSample],
    score: Score,
    generator: torch.Generator,
) -> dict[str, TaskScore]:
    answers = generate_completions(
        model,
        spec,
        [sample.prompt for sample in held_out],
        end_token_id=tokenizer.eos_token_id,
        max_tokens=config.max_answer_tokens,
        generator=generator,
    )
    found: dict[str, list[tuple[float, bool]]] = {}
    for sample, ids in zip(held_out, answers, strict=True):
        reply = tokenizer.decode(ids, skip_special_tokens=False)
        found.setdefault(sample.task, []).append(score(sample.task, reply, sample.answer))
    return {
        task: TaskScore(sum(s for s, _ in pairs) / len(pairs), sum(v for _, v in pairs) / len(pairs))
        for task, pairs in found.items()
    }


def _save(model: Any, processor: Any, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        partial = Path(scratch) / out.name
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        os.replace(partial, out)
