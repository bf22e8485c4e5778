"""A run's checkpoint as a Hugging Face folder."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from cluster.checkpoints.find import best_checkpoint, last_checkpoint
from cluster.config.load import ConfigError, validated
from cluster.config.schema import Config
from cluster.runs.folder import default_runs, find_folder
from learner.config import LearnerConfig
from learner.modeling.lora import adapted_layers, add_adapters, merged_weight


def export(run: str, out: Path, *, best: bool = False, adapter: bool = False) -> Path:
    """Write the trained model, its processor and its config to `out`.

    DeepSpeed's shards of all ranks are put together on the CPU in float32 and saved in the start model's
    precision, so no GPU and no cluster is needed.

    Args:
        run: a run's name, or its folder.
        best: the checkpoint of the best evaluation, instead of the last one.
        adapter: of a run with `learner.lora`, the adapters alone, as PEFT loads them; else they are merged.

    Raises:
        ConfigError: there is no such run, it has no such checkpoint, or one out of reach, or `out` is not empty.
    """
    folder = find_folder(run)
    if folder is None:
        raise ConfigError(
            f"RUN={run!r}: no run of that name in {default_runs()}, and no run's folder of that path."
        )
    # Without the checks of a run to come: its data may be gone by now.
    learner = validated(Config, yaml.safe_load((folder / "config.yaml").read_text())).learner
    if adapter and learner.lora is None:
        raise ConfigError(f"--adapter: RUN={run!r} trained no adapters. Leave --adapter out.")
    checkpoint = best_checkpoint(folder) if best else last_checkpoint(folder)
    if checkpoint is None and best:
        raise ConfigError(
            f"RUN={run!r}: no checkpoint was evaluated. Set evaluation.every, or leave --best out for the last one."
        )
    if checkpoint is None:
        raise ConfigError(
            f"RUN={run!r}: has no checkpoint yet. Wait for one, or lower train.checkpoint_every."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={str(out)!r}: is there already. Name a folder that is not there yet.")
    from transformers import AutoProcessor

    start = checkpoint.state["start_model"]
    if (
        Path(start).is_absolute() and not Path(start).exists()
    ):  # the run's folder was moved: its model with it
        start = str(folder / Path(start).name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.on_disk(out.absolute().parent) as shards:
        model = _trained(shards, start, learner, run)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if learner.lora is not None and not adapter:
        model = _merged(model, start)
    model.save_pretrained(partial)
    AutoProcessor.from_pretrained(start).save_pretrained(partial)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def _trained(checkpoint: Path, start: str, learner: LearnerConfig, run: str) -> Any:
    """The start model with a checkpoint's weights; what was frozen is not in the checkpoint."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(start, dtype="auto")
    if learner.freeze_vision:
        model.model.visual.requires_grad_(False)
    if learner.lora is not None:
        add_adapters(model, learner.lora)
    saved = get_fp32_state_dict_from_zero_checkpoint(
        str(checkpoint), tag="policy", exclude_frozen_parameters=learner.trains_in_part
    )
    # The learner holds the model as a part of its own module (learner.modeling.policy_model.PolicyModel).
    weights = {name.removeprefix("model."): value for name, value in saved.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lost = set(missing) & trained
    if unexpected or lost:
        raise ConfigError(
            f"RUN={run!r}: its checkpoint does not fit {start} (missing {sorted(lost)[:3]}, "
            f"unexpected {sorted(unexpected)[:3]}). Export with the version that trained it."
        )
    return model


def _merged(model: Any, start: str) -> Any:
    """The start model with the adapters' products added to its weights."""
    from transformers import AutoModelForImageTextToText

    plain = AutoModelForImageTextToText.from_pretrained(start, dtype="auto")
    merged = {name: merged_weight(layer) for name, layer in adapted_layers(model).items()}
    plain.load_state_dict(merged, strict=False)
    return plain
