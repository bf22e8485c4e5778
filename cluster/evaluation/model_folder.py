"""The model of an evaluation: a folder, a hub id, or the last checkpoint of a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from actors.workers.prompt_worker import RecipePrompts
from cluster.checkpoints.export import export
from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.config.schema import TINY_PREFIX, DataConfig
from cluster.runs.folder import CONFIG_FILE, default_runs_folder, find_folder
from cluster.training.prepare import check_model
from evaluation.bench import LoadedColumn
from evaluation.settings import EvalSettings
from pretext.video import VideoError
from rollout.prompt import PromptError, PromptTooLong
from vocabulary.problems import NO_VALUE
from vocabulary.text import first_line


@contextmanager
def model_folder(model: str, out: Path) -> Iterator[str]:
    """Yield a folder or hub id that vLLM can load. A run's last checkpoint is exported for the block only.

    Args:
        model: folder or hub id of a model, or name or folder of a run.
        out: folder of the results.

    Raises:
        ConfigError: `model` names none of these, or the run has no usable checkpoint.
    """
    if _is_model_folder(model):
        yield str(Path(model).absolute())
    elif find_folder(model) is not None:
        # In `out` and not in /tmp, because engines on other machines must read it, and `out` is on shared storage.
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".model-", dir=out) as scratch:
            yield str(export(model, Path(scratch).absolute() / "model"))
    elif model.count("/") == 1 and not model.startswith((".", "/", TINY_PREFIX)):
        yield model
    else:
        raise ConfigError(
            "--model",
            model,
            f"no folder with a config.json, no run of that name in {default_runs_folder()}, and no hub id such as "
            "Qwen/Qwen3-VL-2B-Instruct",
            "Name one of them",
        )


def system_prompt_of(model: str) -> str:
    """Return the system prompt that a run trained with; for any other model, the default."""
    default = DataConfig().system_prompt
    folder = None if _is_model_folder(model) else find_folder(model)
    if folder is None:
        return default
    # Not validated: validation checks the run's data, which may have been deleted.
    settings = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8")) or {}
    return str(settings.get("data", {}).get("system_prompt", default))


def check_prompts(model: str, path: str, columns: Sequence[LoadedColumn], settings: EvalSettings) -> None:
    """Build the first prompt of each column, so that prompts this model cannot take are refused before the start.

    Args:
        model: the model as the user named it.
        path: what `model_folder` yields for it.

    Raises:
        ConfigError: the model cannot be used, or one of the prompts is too long or cannot be built.
    """
    try:
        check_model(build_config({"model": {"path": path}}))
        prompts = RecipePrompts(
            path, system_prompt=settings.system_prompt or "", max_prompt_tokens=settings.max_prompt_tokens
        )
        for column in columns:
            try:
                prompts.build(column.recipes[0])
            except VideoError:
                continue  # the evaluation reports it with the other unreadable videos
    except ConfigError as error:
        raise error.renamed("model.path", "--model", model) from None
    except PromptTooLong as error:
        raise ConfigError(
            "--max-prompt-tokens",
            settings.max_prompt_tokens,
            f"a prompt of {column.name} has {error.num_tokens} tokens",
            "Use fewer frames or pixels, or raise it",
        ) from None
    except PromptError as error:
        raise ConfigError(column.name, NO_VALUE, str(error)) from None
    except (OSError, ValueError) as error:
        raise ConfigError("--model", model, f"cannot be used ({first_line(error)})") from None


def _is_model_folder(model: str) -> bool:
    return (Path(model) / "config.json").exists()
