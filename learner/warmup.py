"""A short supervised warm-up: a model that knows nothing learns what an answer looks like.

Only the demo and the tests need it: their models start from random weights, and GRPO cannot raise the
probability of an answer that is never sampled. A released model skips it.

The warm-up ends on a score, not on a time: when each task's *sampled* answers score `target_score` and are
valid often enough. Then answers have the right form, while most of the skill is left for GRPO to find.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from transformers import DynamicCache

from learner.batch import PromptTensors, Row, collate
from learner.model import ModelSpec, completion_logprobs, normalise_patches

Score = Callable[[str, str, str], tuple[float, bool]]  # (task, reply, answer) -> (score, is valid)
Decode = Callable[[Sequence[int]], str]  # token ids to text, special tokens left out


class WarmupError(RuntimeError):
    """The model did not reach its targets in `max_steps`."""


class WarmupConfig(BaseModel):
    """When the warm-up ends, and how it steps. Defaults suit the tiny model of the demo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(1.5e-3, gt=0)
    adam_betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    batch_size: int = Field(64, ge=1, description="samples in one step")
    target_score: float = Field(0.45, gt=0, le=1, description="mean score of sampled answers, per task")
    target_validity: float = Field(0.9, ge=0, le=1, description="share of sampled answers of the right form")
    eval_every: int = Field(20, ge=1, description="steps between two looks at the score")
    max_steps: int = Field(1000, ge=1, description="a model that is not there by then is an error")
    max_answer_tokens: int = Field(12, ge=1, description="a sampled answer is cut there")


@dataclass(frozen=True)
class WarmupSample:
    """A prompt with its right answer."""

    task: str
    prompt: PromptTensors
    answer: str
    answer_ids: tuple[int, ...]  # tokens of `answer`, end-of-turn token included


@dataclass(frozen=True)
class TaskScore:
    """Means over a task's held-out samples, one sampled answer each."""

    score: float
    validity: float


@dataclass(frozen=True)
class WarmupResult:
    """How far the warm-up went."""

    num_steps: int
    scores: dict[str, TaskScore]


def warm_up(
    model: Any,
    spec: ModelSpec,
    config: WarmupConfig,
    *,
    samples: Mapping[str, Iterator[WarmupSample]],
    held_out: Sequence[WarmupSample],
    score: Score,
    decode: Decode,
    end_token_id: int,
    seed: int,
    report: Callable[[int, float, Mapping[str, TaskScore]], None] = lambda step, loss, scores: None,
) -> WarmupResult:
    """Train `model` in place until every task has reached its targets.

    A task that is ahead waits: each batch is shared by the tasks that were below their targets at the last
    look. So they end together, an easy one does not run off to its ceiling, and none is forgotten, as a
    task that falls back joins in again.

    Args:
        samples: per task, an endless stream.
        held_out: samples of every task, not in the streams; their answers are sampled at temperature 1.
        report: called after each look with (steps done, mean loss since the last, scores).

    Raises:
        WarmupError: `max_steps` were done and a task is still below its targets.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=config.adam_betas, weight_decay=0.0
    )
    behind = list(samples)
    losses: list[float] = []
    scores: dict[str, TaskScore] = {}
    for step in range(1, config.max_steps + 1):
        batch = [next(samples[behind[place % len(behind)]]) for place in range(config.batch_size)]
        losses.append(_step(model, spec, config, optimizer, batch))
        if step % config.eval_every:
            continue
        scores = sampled_scores(
            model, spec, held_out, score=score, decode=decode, end_token_id=end_token_id,
            max_tokens=config.max_answer_tokens, generator=generator,
        )  # fmt: skip
        report(step, sum(losses) / len(losses), scores)
        losses.clear()
        behind = [
            task
            for task in samples
            if scores[task].score < config.target_score or scores[task].validity < config.target_validity
        ]
        if not behind:
            return WarmupResult(step, scores)
    raise WarmupError(f"warm-up: after {config.max_steps} steps {', '.join(behind)} below target: {scores}")


def _step(
    model: Any,
    spec: ModelSpec,
    config: WarmupConfig,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[WarmupSample],
) -> float:
    """One step down the mean cross-entropy of the answers' tokens, which is returned."""
    model.train()
    rows = [Row(entry.prompt, entry.answer_ids, (0.0,) * len(entry.answer_ids), 0.0) for entry in batch]
    micro_batch = collate(rows, pad_token_id=spec.pad_token_id)
    logprobs, _ = completion_logprobs(model, micro_batch, spec)
    mask = micro_batch.completion_mask
    loss = -(logprobs * mask).sum() / mask.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss)


def sampled_scores(
    model: Any,
    spec: ModelSpec,
    held_out: Sequence[WarmupSample],
    *,
    score: Score,
    decode: Decode,
    end_token_id: int,
    max_tokens: int,
    generator: torch.Generator,
) -> dict[str, TaskScore]:
    """Answer every sample once and score it: the means of each task."""
    results: dict[str, list[tuple[float, bool]]] = {}
    for task in dict.fromkeys(entry.task for entry in held_out):
        entries = [entry for entry in held_out if entry.task == task]
        answers = sample_answers(
            model, spec, [entry.prompt for entry in entries],
            end_token_id=end_token_id, max_tokens=max_tokens, generator=generator,
        )  # fmt: skip
        results[task] = [
            score(task, decode(answer), entry.answer) for entry, answer in zip(entries, answers, strict=True)
        ]
    return {
        task: TaskScore(
            sum(value for value, _ in found) / len(found), sum(ok for _, ok in found) / len(found)
        )
        for task, found in results.items()
    }


@torch.no_grad()
def sample_answers(
    model: Any,
    spec: ModelSpec,
    prompts: Sequence[PromptTensors],
    *,
    end_token_id: int,
    max_tokens: int,
    generator: torch.Generator | None,
) -> list[list[int]]:
    """One answer per prompt, the end-of-turn token left out; greedy where `generator` is None.

    Not `model.generate`: that computes M-RoPE positions itself and would not take ours.
    """
    model.eval()
    batch = collate([Row(prompt, (), (), 0.0) for prompt in prompts], pad_token_id=spec.pad_token_id)
    forbidden = torch.tensor(spec.forbidden, dtype=torch.int64)
    next_positions = torch.tensor([prompt.next_position for prompt in prompts])
    cache = DynamicCache(config=model.config.get_text_config())
    inputs: dict[str, Tensor] = {
        "input_ids": batch.prompt_ids,
        "position_ids": batch.prompt_positions,
        "pixel_values_videos": normalise_patches(
            batch.patches, mean=spec.pixel_mean, std=spec.pixel_std, dtype=getattr(torch, spec.dtype)
        ),
        "video_grid_thw": batch.grid_thw,
    }
    attention_mask = batch.prompt_mask
    answers: list[Tensor] = []
    for offset in range(max_tokens):
        output = model(
            **inputs, attention_mask=attention_mask, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        logits = output.logits[:, -1].float().index_fill(-1, forbidden, float("-inf")) / spec.temperature
        if generator is None:
            tokens = logits.argmax(-1)
        else:
            tokens = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
        answers.append(tokens)
        attention_mask = torch.cat([attention_mask, torch.ones_like(attention_mask[:, :1])], dim=1)
        positions = (next_positions + offset).expand(3, -1).unsqueeze(-1)
        inputs = {"input_ids": tokens.unsqueeze(1), "position_ids": positions}
    table = torch.stack(answers, dim=1).tolist() if answers else []
    return [row[: row.index(end_token_id)] if end_token_id in row else row for row in table]
