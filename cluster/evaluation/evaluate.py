"""A model answers a bench: vLLM engines under Ray, with prompts built beside them.

    recipes ──► BenchPrompts (CPU, any number) ──► BenchEngine (vLLM, one per GPU) ──► answers ──► results

The driver hands out batches and holds a few in flight, so that engines find their next prompts ready. A worker
that dies is restarted by Ray, and does its batch again.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import yaml
from ray.exceptions import RayActorError, RayTaskError

from actors.workers.bench_worker import BenchEngine, BenchPrompts, Unreadable
from actors.workers.prompt_worker import RecipePrompts
from actors.workers.rollout_pool import last_line
from cluster.checkpoints.export import export
from cluster.config.load import ConfigError, build_config
from cluster.config.schema import TINY_PREFIX, DataConfig
from cluster.evaluation.record import record_results
from cluster.runs.folder import default_runs, find_folder
from cluster.training.placement import CPU_SHARE
from cluster.training.prepare import check_model
from cluster.training.ray_session import joined_ray
from dataset.store import DatasetError
from evaluation.bench import Questions, load_questions
from evaluation.results import Answer, Results, results, scored, write_results
from evaluation.settings import EvalSettings
from pretext.randomness import generator
from pretext.recipe import Recipe
from pretext.video import VideoError
from reward.parsing import MOST_CLIPS
from rollout.engine import Completion, EngineOptions, Sampling
from rollout.prompt import PromptError

Report = Callable[[int, int], None]  # (questions done, questions in all)

# Prompts at most. One of 48 frames of 256x256 takes 9 MB, and all in flight lie in Ray's object store.
_BATCH = 16
_MOST_RESTARTS = 3  # of one worker, and of one batch
_PROMPT_WORKERS_PER_GPU = 6


class EvaluationFailed(RuntimeError):
    """The evaluation ended before its last question; says why."""


@dataclass(frozen=True)
class _Plan:
    """Settings with every choice made."""

    device: str
    dtype: str
    workers: int
    prompt_workers: int


@dataclass(frozen=True)
class _Item:
    """One question to be asked."""

    column: Questions
    number: int  # in its column
    recipe: Recipe


def evaluate(
    model: str, bench: Path, out: Path, settings: EvalSettings, *, say: Callable[[str], None], report: Report
) -> tuple[Results, tuple[Unreadable, ...]]:
    """Let `model` answer `bench` and write OUT; returns the table, and which questions could not be asked.

    Args:
        model: a Hugging Face folder or hub id, or a run's name or folder (its last checkpoint is taken).
        bench: the folder of a bench, or of a single dataset.

    Raises:
        ConfigError: something that the user can mend, found before anything was started.
        EvaluationFailed: it broke off.
    """
    started = time.monotonic()
    try:
        asked = load_questions(bench, settings.limit)
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    if (out / "results.json").exists():
        raise ConfigError(f"--out={str(out)!r}: holds results already. Name another folder, or remove it.")
    if settings.system_prompt is None:
        settings = settings.model_copy(update={"system_prompt": _system_prompt(model)})
    with _model_folder(model, out) as path:
        _check(model, path, asked, settings)
        with joined_ray(settings.address):
            plan = _plan(settings)
            say(
                f"{sum(len(column.recipes) for column in asked)} questions, {plan.workers} vLLM engine(s) on "
                f"{plan.device}, {plan.prompt_workers} process(es) that read videos. Starting ..."
            )
            answers, unreadable = _answer_all(asked, path, settings, plan, report)
    try:
        found = results(asked, answers)
    except ValueError as error:
        raise EvaluationFailed(f"{error} {unreadable[0].path}: {unreadable[0].reason}") from None
    about = {
        "model": model,
        "bench": str(bench),
        "settings": settings.model_dump() | asdict(plan),  # with every choice made
        "seconds": round(time.monotonic() - started, 1),
        "unreadable": [{"path": entry.path, "reason": entry.reason} for entry in unreadable],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_results(out, found, answers, about)
    record_results(model, bench, out, found, say)
    return found, unreadable


@contextmanager
def _model_folder(model: str, out: Path) -> Iterator[str]:
    """A folder or hub id that vLLM can load; a run's is there only for as long as the block lasts."""
    if (Path(model) / "config.json").exists():
        yield str(Path(model).absolute())
    elif _run_config(model) is not None:
        # Beside the results and not under /tmp: with engines on other machines, OUT is a folder they share.
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".model-", dir=out) as scratch:
            yield str(export(model, Path(scratch).absolute() / "model"))
    elif model.count("/") == 1 and not model.startswith((".", "/", TINY_PREFIX)):
        yield model
    else:
        raise ConfigError(
            f"--model={model!r}: no folder with a config.json, no run of that name in {default_runs()}, and no hub id "
            "such as Qwen/Qwen3-VL-2B-Instruct. Name one of them."
        )


def _run_config(model: str) -> Path | None:
    """The configuration of a run, if `model` is one."""
    folder = find_folder(model)
    return None if folder is None else folder / "config.yaml"


def _system_prompt(model: str) -> str:
    """What a run told its model before each question, or what any model is told."""
    default = DataConfig().system_prompt
    file = None if (Path(model) / "config.json").exists() else _run_config(model)
    # Not as a configuration: the run's data may lie elsewhere by now.
    said = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return str(said.get("data", {}).get("system_prompt", default))


def _check(model: str, path: str, asked: Sequence[Questions], settings: EvalSettings) -> None:
    """Builds the first prompt of each column: what cannot be asked of this model shows before anything starts."""
    name = f"--model={model!r}"
    try:
        check_model(build_config({"model": {"path": path}}))
        prompts = RecipePrompts(
            path, system_prompt=settings.system_prompt or "", max_prompt_tokens=settings.max_prompt_tokens
        )
        for column in asked:
            try:
                prompts.build(column.recipes[0])
            except VideoError:
                continue  # counted, and named, when its turn comes
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"model.path={path!r}", name)) from None
    except PromptError as error:
        words = str(error).replace("data.max_prompt_tokens", "--max-prompt-tokens")
        raise ConfigError(f"{column.name}: {words}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot be used ({str(error).strip().splitlines()[0]}).") from None


def _plan(settings: EvalSettings) -> _Plan:
    """Who runs where on this Ray. Raises ConfigError where it has not enough."""
    import torch

    have = ray.cluster_resources()
    gpus = int(have.get("GPU", 0))
    device = settings.device
    if device == "auto":  # a torch built for CPUs has vLLM for CPUs beside it, whatever the machine has
        device = "cuda" if gpus and torch.version.cuda is not None else "cpu"
    if device == "cuda":
        workers = settings.workers or max(1, gpus // settings.tensor_parallel)
        if workers * settings.tensor_parallel > gpus:
            raise ConfigError(
                f"--workers={workers}, --tensor-parallel={settings.tensor_parallel}: take "
                f"{workers * settings.tensor_parallel} GPU(s), this Ray has {gpus}. Lower them, or use --device cpu."
            )
    else:
        workers = settings.workers or 1
    share = CPU_SHARE[device]
    room = int(have.get("CPU", 0) / share) - workers
    prompt_workers = settings.prompt_workers
    if prompt_workers is None:
        prompt_workers = 1 if device == "cpu" else max(1, min(_PROMPT_WORKERS_PER_GPU * workers, room))
    if prompt_workers > room:
        raise ConfigError(
            f"--workers={workers}, --prompt-workers={prompt_workers}: ask for {(workers + prompt_workers) * share:g} "
            f"CPUs, this Ray has {have.get('CPU', 0):g}. Lower the larger."
        )
    dtype = settings.dtype if settings.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    return _Plan(device, dtype, workers, prompt_workers)


def _start(path: str, settings: EvalSettings, plan: _Plan) -> tuple[list[Any], list[Any]]:
    """(engines, prompt builders) as actors."""
    options = EngineOptions(
        model=path,
        device=plan.device,
        dtype=plan.dtype,
        seed=settings.seed,
        max_model_len=settings.max_prompt_tokens + settings.max_tokens,
        max_num_seqs=_BATCH,
        max_videos=MOST_CLIPS,
        tensor_parallel_size=settings.tensor_parallel,
        gpu_memory_utilization=settings.gpu_memory,
        kv_cache_gib=settings.kv_cache_gib,
        weight_transfer="nccl" if plan.device == "cuda" else "gloo",  # unused
        sleep=False,
        vllm_args={},
    )
    common = {
        "num_cpus": CPU_SHARE[plan.device],
        "max_restarts": _MOST_RESTARTS,
        "max_task_retries": _MOST_RESTARTS,
    }
    gpus = settings.tensor_parallel if plan.device == "cuda" else 0
    engines = [
        ray.remote(BenchEngine).options(**common, num_gpus=gpus).remote(options) for _ in range(plan.workers)
    ]
    makers = [
        ray.remote(BenchPrompts)
        .options(**common)
        .remote(
            path, system_prompt=settings.system_prompt or "", max_prompt_tokens=settings.max_prompt_tokens
        )
        for _ in range(plan.prompt_workers)
    ]
    return engines, makers


def _answer_all(
    asked: Sequence[Questions], path: str, settings: EvalSettings, plan: _Plan, report: Report
) -> tuple[list[Answer], tuple[Unreadable, ...]]:
    """Every question answered, in the bench's order, and those that could not be asked."""
    # By video, so that a video that is asked about in every column is read once.
    items = [_Item(column, n, recipe) for column in asked for n, recipe in enumerate(column.recipes)]
    items.sort(key=lambda item: item.recipe.video)
    size = min(_BATCH, -(-len(items) // plan.workers))
    waiting = deque(items[first : first + size] for first in range(0, len(items), size))
    engines, makers = _start(path, settings, plan)
    turns = itertools.cycle(makers)
    flying: dict[Any, tuple[Any, Any, list[_Item]]] = {}

    def give(engine: Any) -> None:
        """The next batch, if there is one, to a prompt builder and from there to this engine."""
        if waiting:
            batch = waiting.popleft()
            recipes = [item.recipe for item in batch]
            questions, inputs = next(turns).build_all.options(num_returns=2).remote(recipes)
            samplings = [_sampling(item.recipe, settings) for item in batch]
            flying[engine.answer.remote(inputs, samplings)] = (engine, questions, batch)

    # One batch for each engine to answer, and one for each prompt builder to build meanwhile.
    for engine, _ in zip(itertools.cycle(engines), range(len(engines) + len(makers)), strict=False):
        give(engine)
    answers: dict[tuple[str, int], Answer] = {}
    unreadable: dict[Unreadable, None] = {}
    done = 0
    while flying:
        completions, (engine, questions, batch) = _next(flying, settings.timeout_s)
        give(engine)
        for item, question, completion in zip(batch, ray.get(questions), completions, strict=True):
            if isinstance(question, Unreadable):
                unreadable[question] = None
            else:
                answers[item.column.name, item.number] = _answer(item, question, completion)
        done += len(batch)
        report(done, len(items))
    in_order = [(column.name, n) for column in asked for n in range(len(column.recipes))]
    return [answers[key] for key in in_order if key in answers], tuple(unreadable)


def _next(flying: dict[Any, Any], timeout_s: float) -> tuple[list[Completion | None], Any]:
    """What comes back first, taken out of `flying`. Raises EvaluationFailed."""
    ready, _ = ray.wait(list(flying), num_returns=1, timeout=timeout_s)
    if not ready:
        raise EvaluationFailed(f"no engine answered within {timeout_s:g} s (--timeout-s).")
    try:
        return ray.get(ready[0]), flying.pop(ready[0])
    except RayTaskError as error:
        raise EvaluationFailed(f"{error.function_name}: {last_line(error)}") from None
    except RayActorError as error:
        raise EvaluationFailed(
            f"a worker could not be started, or died more than {_MOST_RESTARTS} times: {last_line(error)}"
        ) from None


def _sampling(recipe: Recipe, settings: EvalSettings) -> Sampling:
    seed = int(generator(settings.seed, "answer", recipe.id).integers(2**31))
    return Sampling(1, settings.temperature, settings.max_tokens, seed)


def _answer(item: _Item, question: str, completion: Completion | None) -> Answer:
    assert completion is not None  # only an unreadable video has none
    return scored(
        id=item.recipe.id,
        column=item.column,
        question=question,
        answer=item.recipe.answer,
        completion=completion.text,
        cut_off=completion.finish_reason != "stop",
    )
