"""Reading a configuration: YAML, overrides, and errors that say what to change."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cluster.config.schema import Config
from dataset.source import DatasetSource
from dataset.store import DatasetError
from pretext.tasks import TASKS

M = TypeVar("M", bound=BaseModel)


class ConfigError(ValueError):
    """What is wrong with a configuration: one line a problem, each with name, value, rule and fix."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read `path` and apply `dotted.key=value` overrides (values are YAML).

    Raises:
        ConfigError: the file cannot be read, or says something that cannot be.
    """
    return build_config(settings_of(read_text(path), str(path), overrides))


def read_text(path: Path) -> str:
    """A configuration's text. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a YAML file, for example "
                          "configs/demo.yaml.") from None  # fmt: skip
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None


def settings_of(text: str, source: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """YAML with `dotted.key=value` overrides as plain values, not checked yet.

    Args:
        source: where the text is from, for messages.

    Raises:
        ConfigError: it is not YAML, or holds no settings.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: holds no settings. Start from configs/demo.yaml.")
    for override in overrides:
        apply_override(tree, override)
    return tree


def build_config(tree: dict[str, Any]) -> Config:
    """A checked Config from plain values. Raises ConfigError."""
    config = _with_dataset(validated(Config, tree))
    problems = list(_cross_checks(config))
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def validated(model: type[M], tree: dict[str, Any]) -> M:
    """Plain values as a checked `model`. Raises ConfigError, one line a problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(problem, model) for problem in error.errors())) from None


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set `dotted.key=value` (YAML) in `tree`. Raises ConfigError."""
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"{override!r}: an override has the form dotted.key=value, as in train.steps=10.")
    *parents, last = name.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        node[parent] = dict(child) if isinstance(child, dict) else {}
        node = node[parent]
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"{override!r}: the value is not YAML. Quote it, as in {name}='\"text\"'."
        ) from None


def _explain(problem: Any, root: type[BaseModel]) -> str:
    """One pydantic error as `dotted.name=value: rule. Fix.`"""
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(root, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        fix = f"Did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"Known: {', '.join(known)}."
        return f"{name}={_show(problem['input'])}: there is no such setting. {fix}"
    if problem["type"] == "model_type":
        examples = ", ".join(f"{name}.{key}" for key in _known_keys(root, path)[:3])
        return f"{name}={_show(problem['input'])}: is a section of settings, not a value. Set one, as {examples}."
    message = str(problem["msg"]).removeprefix("Value error, ")
    rule = message[0].lower() + message[1:]
    return f"{name}={_show(problem['input'])}: {rule}{'' if rule.endswith('.') else '.'}{_hint(name)}"


_HINTS = {
    "grpo.group_size": " GRPO compares a prompt's completions: with one, every advantage is 0. Set it to 2 or more.",
    "rollout.temperature": " At 0 all completions of a prompt are alike. Set it to 1.0, or some value above 0.",
}


def _hint(name: str) -> str:
    return _HINTS.get(name, f" Change {name}.")


def _known_keys(root: type[BaseModel], path: Sequence[str]) -> list[str]:
    model: Any = root
    for part in path:
        field = (
            model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        )
        if field is None:
            return []
        options = getattr(field.annotation, "__args__", (field.annotation,))
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return sorted(model.model_fields)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _cross_checks(config: Config) -> list[str]:
    """Rules that hold between settings; what each breaks, in words."""
    rules = (_data_problems, _batch_problems, _staleness_problems, _device_problems)
    return [problem for rule in rules for problem in rule(config)]


def _data_problems(config: Config) -> Iterator[str]:
    params = task_params(config)
    for task in tasks_of(config) if config.data.dataset is None else ():  # its samples are made already
        try:
            TASKS[task].check(params[task], config.data.frames.num_frames)
        except ValueError as error:
            yield f"data.{task}: {error}"
    if not tasks_of(config):
        yield f"data.mix={config.data.mix}: no task has a weight above 0. Give one a weight of 1."
    if unknown := set(config.grpo.task_weights) - set(tasks_of(config)):
        yield (
            f"grpo.task_weights={config.grpo.task_weights}: {', '.join(sorted(unknown))} is not in data.mix "
            f"({', '.join(tasks_of(config))}). Name tasks that are trained."
        )
    if config.evaluation.every > 0 and config.evaluation.samples_per_task == 0:
        yield (
            f"evaluation.every={config.evaluation.every}: there is nothing to evaluate on. Set "
            "evaluation.samples_per_task above 0, or evaluation.every=0."
        )


def _batch_problems(config: Config) -> Iterator[str]:
    prompts, ranks = config.train.prompts_per_step, config.learner.num_workers
    if prompts < ranks:
        yield (
            f"train.prompts_per_step={prompts}: every learner rank needs a prompt. Set it to "
            f"learner.num_workers={ranks} or more."
        )
    elif prompts < config.grpo.updates_per_batch * ranks:
        yield (
            f"grpo.updates_per_batch={config.grpo.updates_per_batch}: too few prompts for as many updates on "
            f"{ranks} rank(s). Lower it, or raise train.prompts_per_step."
        )
    if config.learner.schedule.warmup_steps >= config.train.steps:
        yield (
            f"learner.schedule.warmup_steps={config.learner.schedule.warmup_steps}: the run would end before its "
            f"learning rate is reached. Set it below train.steps={config.train.steps}."
        )
    if config.grpo.overlong.buffer_tokens > config.rollout.max_tokens:
        yield (
            f"grpo.overlong.buffer_tokens={config.grpo.overlong.buffer_tokens}: longer than the longest completion. "
            f"Set it below rollout.max_tokens={config.rollout.max_tokens}."
        )


def _staleness_problems(config: Config) -> Iterator[str]:
    if config.train.max_staleness == 0:
        return
    if config.cluster.placement == "shared":
        yield (
            "train.max_staleness=1: on shared GPUs rollout and update take turns, so nothing overlaps. Set "
            "train.max_staleness=0, or cluster.placement=separate."
        )
    if config.grpo.importance == "none":
        yield (
            "grpo.importance='none': with train.max_staleness=1 rollouts are of an older policy, and need weights "
            "to be unbiased. Set grpo.importance to token or sequence, or train.max_staleness=0."
        )
    if config.learner.max_logprob_gap is not None:
        yield (
            f"learner.max_logprob_gap={config.learner.max_logprob_gap:g}: compares engine and learner on rollouts of "
            "the current policy, and with train.max_staleness=1 they are of the one before. Set it to null."
        )


def _device_problems(config: Config) -> Iterator[str]:
    rollout, learner, shared = config.rollout, config.learner, config.cluster.placement == "shared"
    if config.cluster.device == "cuda":
        if shared and (rollout.tensor_parallel_size > 1 or rollout.num_workers != learner.num_workers):
            yield (
                f"cluster.placement='shared': each GPU holds one learner rank and one engine, but rollout has "
                f"{rollout.num_workers} engines of {rollout.tensor_parallel_size} GPU(s) and learner "
                f"{learner.num_workers} ranks. Make the numbers equal and tensor_parallel_size 1."
            )
        return
    if learner.attention in ("flex", "flash_attention_2"):
        yield f"learner.attention={learner.attention!r}: its kernels need a GPU. Set it to sdpa."
    for name, dtype in (("rollout", rollout.dtype), ("learner", learner.dtype)):
        if dtype != "float32":
            yield f"{name}.dtype={dtype!r}: on a CPU we train in float32. Set it to float32."
    if shared:
        yield "cluster.placement='shared': there are no GPUs to share on a CPU. Set it to separate."


def _with_dataset(config: Config) -> Config:
    """With the mix of the dataset that is trained on, if one is named: it says which tasks there are."""
    if config.data.dataset is None:
        return config
    try:
        mix = DatasetSource(config.data.dataset, config.data.held_out_share, config.seed).mix
    except DatasetError as error:
        raise ConfigError(f"data.dataset={config.data.dataset!r}: {error}") from None
    return config.model_copy(update={"data": config.data.model_copy(update={"mix": mix})})


def task_params(config: Config) -> dict[str, Any]:
    """Each task's parameters, by name."""
    return dict(config.data.params_by_task)


def mix_of(config: Config) -> dict[str, float]:
    """The weight of each task."""
    return {str(task): weight for task, weight in config.data.mix.items()}


def tasks_of(config: Config) -> tuple[str, ...]:
    """The tasks that the mix gives a weight."""
    return tuple(task for task, weight in config.data.mix.items() if weight > 0)
