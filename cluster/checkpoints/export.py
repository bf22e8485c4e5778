"""Exporting a run's checkpoint as a Hugging Face folder."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from cluster.checkpoints.find import best_checkpoint, last_checkpoint
from cluster.config.errors import ConfigError
from cluster.config.load import validated
from cluster.config.schema import Config
from cluster.runs.folder import default_runs_folder, find_folder
from learner.config import LearnerConfig
from learner.modeling.lora import adapted_layers, add_adapters, merged_weight


def export(run: str, out: Path, *, best: bool = False, adapter: bool = False) -> Path:
    """Write the trained model, its processor and its config to `out`, and return `out`.

    The DeepSpeed shards of all ranks are combined on the CPU in float32 and saved in the start model's precision, so
    neither a GPU nor a Ray cluster is needed.

    Args:
        run: name or folder of a run.
        best: export the checkpoint with the best held-out score instead of the last one.
        adapter: for a run with `learner.lora`, write only the adapters, as PEFT loads them, instead of merging them.

    Raises:
        ConfigError: there is no such run, it has no such checkpoint, its storage cannot be reached, or `out` is not
            empty.
    """
    folder = find_folder(run)
    if folder is None:
        raise ConfigError(
            "RUN",
            run,
            f"there is no run of that name in {default_runs_folder()}, and no run folder at that path",
            "List the runs with `videossr runs list`",
        )
    # Not build_config: it also checks the data, which may have been deleted.
    learner = validated(Config, yaml.safe_load((folder / "config.yaml").read_text())).learner
    if adapter and learner.lora is None:
        raise ConfigError("RUN", run, "trained no adapters", "Leave --adapter out")
    checkpoint = best_checkpoint(folder) if best else last_checkpoint(folder)
    if checkpoint is None and best:
        raise ConfigError(
            "RUN",
            run,
            "no checkpoint was evaluated",
            "Set evaluation.every, or leave --best out for the last one",
        )
    if checkpoint is None:
        raise ConfigError(
            "RUN", run, "has no checkpoint yet", "Wait for one, or lower train.checkpoint_every"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("--out", str(out), "exists already", "Name a folder that does not exist yet")
    from transformers import AutoProcessor

    start_model = checkpoint.state["start_model"]
    if Path(start_model).is_absolute() and not Path(start_model).exists():
        # A tiny or warmed-up model is in the run's folder, and that folder was moved.
        start_model = str(folder / Path(start_model).name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.on_disk(out.absolute().parent) as shards:
        model = _load_trained(shards, start_model, learner, run)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if learner.lora is not None and not adapter:
        model = _merge_adapters(model, start_model)
    model.save_pretrained(partial)
    AutoProcessor.from_pretrained(start_model).save_pretrained(partial)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def _load_trained(checkpoint: Path, start_model: str, learner: LearnerConfig, run: str) -> Any:
    """Return the start model with the checkpoint's weights. Frozen weights are not in the checkpoint."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(start_model, dtype="auto")
    if learner.freeze_vision:
        model.model.visual.requires_grad_(False)
    if learner.lora is not None:
        add_adapters(model, learner.lora)
    saved = get_fp32_state_dict_from_zero_checkpoint(
        str(checkpoint), tag="policy", exclude_frozen_parameters=learner.trains_in_part
    )
    # The learner's module is learner.modeling.policy_model.PolicyModel, whose attribute `model` is this one.
    weights = {name.removeprefix("model."): value for name, value in saved.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    missing_trained = sorted(set(missing) & trained)
    if unexpected or missing_trained:
        raise ConfigError(
            "RUN",
            run,
            f"its checkpoint does not fit {start_model} (missing {missing_trained[:3]}, "
            f"unexpected {sorted(unexpected)[:3]})",
            "Export with the version that trained it",
        )
    return model


def _merge_adapters(model: Any, start_model: str) -> Any:
    """Return the start model with the products of the adapters added to its weights."""
    from transformers import AutoModelForImageTextToText

    plain = AutoModelForImageTextToText.from_pretrained(start_model, dtype="auto")
    merged = {name: merged_weight(layer) for name, layer in adapted_layers(model).items()}
    plain.load_state_dict(merged, strict=False)
    return plain
