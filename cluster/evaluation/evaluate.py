"""Evaluating a model on a benchmark: vLLM engines on a Ray cluster, and CPU workers that build their prompts.

    recipes ──► BenchPrompts (CPU, any number) ──► BenchEngine (vLLM, one per GPU) ──► completions ──► scores

The driver keeps a few batches in progress, so that the next prompts of each engine are ready in time. Ray restarts a
worker that dies, and repeats its batch.
"""

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.workers.bench_worker import BenchEngine, BenchPrompts, Unreadable
from cluster.config.errors import ConfigError
from cluster.evaluation.model_folder import check_prompts, model_folder, system_prompt_of
from cluster.evaluation.record import record_results
from cluster.terminal import Say
from cluster.training.placement import CPU_SHARE
from cluster.training.ray_session import ray_cluster
from dataset.store import DatasetError
from evaluation.bench import LoadedColumn, load_columns
from evaluation.results import BenchCompletion, BenchResults, bench_results, score_completion, write_results
from evaluation.settings import EvalSettings
from pretext.randomness import generator
from pretext.recipe import Recipe
from reward.parsing import MAX_CLIPS
from rollout.config import RolloutConfig
from rollout.engine import Completion, EngineOptions, Sampling
from vocabulary.text import last_line

logger = logging.getLogger(__name__)

OnQuestionsDone = Callable[[int, int], None]  # called with (number of questions done, number of questions)

# Largest number of prompts in a batch. A prompt of 48 frames of 256x256 takes 9 MB, and the prompts of all batches in
# progress are in Ray's object store.
_BATCH_SIZE = 16
_MAX_RESTARTS = 3  # largest number of restarts of one worker, and of repetitions of one batch
_PROMPT_WORKERS_PER_GPU_ENGINE = 6


class EvaluationFailed(RuntimeError):
    """The reason why the evaluation ended before its last question."""


@dataclass(frozen=True)
class _Plan:
    """The actual values of settings that may be "auto" or absent."""

    device: str
    dtype: Literal["float32", "bfloat16"]
    workers: int
    prompt_workers: int


@dataclass(frozen=True)
class _Question:
    """One recipe of a column."""

    column: LoadedColumn
    number: int  # place in its column
    recipe: Recipe


def evaluate(
    model: str, bench: Path, out: Path, settings: EvalSettings, *, say: Say, report: OnQuestionsDone
) -> tuple[BenchResults, tuple[Unreadable, ...]]:
    """Evaluate a model on a benchmark and write the results to `out` and to the run store.

    Args:
        model: folder or hub id of a model, or name or folder of a run, whose last checkpoint is used.
        bench: folder of a benchmark or of a single dataset.

    Returns:
        The table, and the videos that could not be read. Their questions were left out.

    Raises:
        ConfigError: a setting, the benchmark or the model is refused, or the cluster is too small; no worker was
            started yet.
        EvaluationFailed: a worker failed, or no question could be evaluated.
    """
    started = time.monotonic()
    try:
        columns = load_columns(bench, settings.limit)
    except DatasetError as error:
        raise ConfigError.quoting(error) from None
    if (out / "results.json").exists():
        raise ConfigError("--out", str(out), "holds results already", "Name another folder, or remove it")
    if settings.system_prompt is None:
        settings = settings.model_copy(update={"system_prompt": system_prompt_of(model)})
    with model_folder(model, out) as path:
        check_prompts(model, path, columns, settings)
        with ray_cluster(settings.address):
            plan = _plan(settings)
            say(
                f"{sum(len(column.recipes) for column in columns)} questions, {plan.workers} vLLM engine(s) on "
                f"{plan.device}, {plan.prompt_workers} prompt worker(s). Starting ..."
            )
            completions, unreadable = _generate_all(columns, path, settings, plan, report)
    try:
        found = bench_results(columns, completions)
    except ValueError as error:
        raise EvaluationFailed(f"{error} {unreadable[0].path}: {unreadable[0].reason}") from None
    about = {
        "model": model,
        "bench": str(bench),
        "settings": settings.model_dump() | asdict(plan),
        "seconds": round(time.monotonic() - started, 1),
        "unreadable": [{"path": entry.path, "reason": entry.reason} for entry in unreadable],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_results(out, found, completions, about)
    logger.info("wrote the results of %s on %s to %s", model, bench, out)
    record_results(model, bench, out, found, say)
    return found, unreadable


def _plan(settings: EvalSettings) -> _Plan:
    """Choose device, dtype and numbers of workers for this Ray cluster.

    Raises:
        ConfigError: the cluster has fewer GPUs or CPUs than the settings ask for.
    """
    import torch

    have = ray.cluster_resources()
    gpus = int(have.get("GPU", 0))
    device = settings.device
    if device == "auto":  # if torch is built for CPUs, so is the installed vLLM
        device = "cuda" if gpus and torch.version.cuda is not None else "cpu"
    if device == "cuda":
        workers = settings.workers or max(1, gpus // settings.tensor_parallel)
        if workers * settings.tensor_parallel > gpus:
            raise ConfigError(
                "--workers",
                workers,
                f"take {workers * settings.tensor_parallel} GPU(s), this Ray cluster has {gpus}",
                "Lower them, or use --device cpu",
                also={"--tensor-parallel": settings.tensor_parallel},
            )
    else:
        workers = settings.workers or 1
    share = CPU_SHARE[device]
    free_shares = int(have.get("CPU", 0) / share) - workers
    prompt_workers = settings.prompt_workers
    if prompt_workers is None:
        most = _PROMPT_WORKERS_PER_GPU_ENGINE * workers
        prompt_workers = 1 if device == "cpu" else max(1, min(most, free_shares))
    if prompt_workers > free_shares:
        raise ConfigError(
            "--workers",
            workers,
            f"ask for {(workers + prompt_workers) * share:g} CPUs, this Ray cluster has {have.get('CPU', 0):g}",
            "Lower the larger",
            also={"--prompt-workers": prompt_workers},
        )
    dtype = settings.dtype if settings.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return _Plan(device, dtype, workers, prompt_workers)


def _start_workers(path: str, settings: EvalSettings, plan: _Plan) -> tuple[list[Any], list[Any]]:
    """Start the workers, and return handles of the BenchEngine and of the BenchPrompts actors."""
    rollout = RolloutConfig(
        dtype=plan.dtype,
        max_num_seqs=_BATCH_SIZE,
        tensor_parallel_size=settings.tensor_parallel,
        gpu_memory_utilization=settings.gpu_memory,
        kv_cache_gib=settings.kv_cache_gib,
    )
    options = EngineOptions(
        model=path,
        rollout=rollout,
        device=plan.device,
        seed=settings.seed,
        max_model_len=settings.max_prompt_tokens + settings.max_tokens,
        max_videos=MAX_CLIPS,
        weight_transfer=None,
        shares_gpus=False,
    )
    common = {
        "num_cpus": CPU_SHARE[plan.device],
        "max_restarts": _MAX_RESTARTS,
        "max_task_retries": _MAX_RESTARTS,
    }
    gpus = settings.tensor_parallel if plan.device == "cuda" else 0
    engines = [
        ray.remote(BenchEngine).options(**common, num_gpus=gpus).remote(options) for _ in range(plan.workers)
    ]
    prompt_workers = [
        ray.remote(BenchPrompts)
        .options(**common)
        .remote(
            path, system_prompt=settings.system_prompt or "", max_prompt_tokens=settings.max_prompt_tokens
        )
        for _ in range(plan.prompt_workers)
    ]
    return engines, prompt_workers


def _generate_all(
    columns: Sequence[LoadedColumn], path: str, settings: EvalSettings, plan: _Plan, report: OnQuestionsDone
) -> tuple[list[BenchCompletion], tuple[Unreadable, ...]]:
    """Generate and score a completion for every question.

    Returns:
        The completions in the benchmark's order, and the videos that could not be read.
    """
    questions = [
        _Question(column, n, recipe) for column in columns for n, recipe in enumerate(column.recipes)
    ]
    # By video, so that a video with questions in several columns is read once.
    questions.sort(key=lambda question: question.recipe.video)
    size = min(_BATCH_SIZE, -(-len(questions) // plan.workers))
    waiting = deque(questions[first : first + size] for first in range(0, len(questions), size))
    engines, prompt_workers = _start_workers(path, settings, plan)
    next_prompt_worker = itertools.cycle(prompt_workers)
    in_progress: dict[Any, tuple[Any, Any, list[_Question]]] = {}  # by the reference to the completions

    def send_batch(engine: Any) -> None:
        """Send the next batch, if there is one, to a prompt worker and from there to `engine`."""
        if not waiting:
            return
        batch = waiting.popleft()
        build_all = next(next_prompt_worker).build_all.options(num_returns=2)
        texts, inputs = build_all.remote([question.recipe for question in batch])
        samplings = [_sampling(question.recipe, settings) for question in batch]
        in_progress[engine.generate.remote(inputs, samplings)] = (engine, texts, batch)

    # Each engine has a batch to generate, and each prompt worker a batch to build meanwhile.
    for engine, _ in zip(itertools.cycle(engines), range(len(engines) + len(prompt_workers)), strict=False):
        send_batch(engine)
    found: dict[tuple[str, int], BenchCompletion] = {}
    unreadable: dict[Unreadable, None] = {}
    num_done = 0
    while in_progress:
        completions, (engine, texts, batch) = _next_batch(in_progress, settings.timeout_s)
        send_batch(engine)
        for question, text, completion in zip(batch, ray.get(texts), completions, strict=True):
            if isinstance(text, Unreadable):
                unreadable[text] = None
            else:
                found[question.column.name, question.number] = _scored(question, text, completion)
        num_done += len(batch)
        report(num_done, len(questions))
    in_order = [(column.name, n) for column in columns for n in range(len(column.recipes))]
    return [found[key] for key in in_order if key in found], tuple(unreadable)


def _next_batch(in_progress: dict[Any, Any], timeout_s: float) -> tuple[list[Completion | None], Any]:
    """Wait for the first batch to be complete, and remove it from `in_progress`.

    Raises:
        EvaluationFailed: no batch was complete in time, or a worker failed.
    """
    ready, _ = ray.wait(list(in_progress), num_returns=1, timeout=timeout_s)
    if not ready:
        raise EvaluationFailed(f"no engine returned a completion within {timeout_s:g} s (--timeout-s).")
    try:
        return ray.get(ready[0]), in_progress.pop(ready[0])
    except RayTaskError as error:
        raise EvaluationFailed(f"{error.function_name}: {last_line(error)}") from None
    except RayActorError as error:
        raise EvaluationFailed(
            f"a worker could not be started, or died more than {_MAX_RESTARTS} times: {last_line(error)}"
        ) from None


def _sampling(recipe: Recipe, settings: EvalSettings) -> Sampling:
    seed = int(generator(settings.seed, "answer", recipe.id).integers(2**31))
    return Sampling(1, settings.temperature, settings.max_tokens, seed)


def _scored(question: _Question, text: str, completion: Completion | None) -> BenchCompletion:
    assert completion is not None  # only a question with an unreadable video has none
    return score_completion(
        recipe_id=question.recipe.id,
        column=question.column,
        question=text,
        truth=question.recipe.truth,
        completion=completion.text,
        cut_off=completion.finish_reason != "stop",
    )
