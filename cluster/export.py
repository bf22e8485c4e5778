"""A run's last checkpoint as a Hugging Face folder."""

import json
import shutil
from pathlib import Path

from cluster.load import ConfigError


def export(run: str, out: Path) -> Path:
    """Write the trained model, its processor and its config to `out`.

    DeepSpeed's shards of all ranks are put together on the CPU in float32 and saved in the start model's
    precision, so no GPU and no cluster is needed.

    Args:
        run: a name under runs/, or a run's folder.

    Raises:
        ConfigError: there is no such run, it has no checkpoint, or `out` is not empty.
    """
    folder = next((path for path in (Path(run), Path("runs") / run) if (path / "config.yaml").exists()), None)
    if folder is None:
        raise ConfigError(f"RUN={run!r}: no run of that name under runs/, and no run's folder of that path.")
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        raise ConfigError(
            f"RUN={run!r}: has no checkpoint yet. Wait for one, or lower train.checkpoint_every."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out={str(out)!r}: is there already. Name a folder that is not there yet.")
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
    from transformers import AutoModelForImageTextToText, AutoProcessor

    start = json.loads((checkpoint / "state.json").read_text())["start_model"]
    if (
        Path(start).is_absolute() and not Path(start).exists()
    ):  # the run's folder was moved: its model with it
        start = str(folder / Path(start).name)
    weights = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint), tag="policy")
    model = AutoModelForImageTextToText.from_pretrained(start, dtype="auto")
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=False)
    tied = {name for name in missing if name in (model.all_tied_weights_keys or {})}
    if unexpected or set(missing) - tied:
        raise ConfigError(
            f"RUN={run!r}: its checkpoint does not fit {start} (missing {sorted(set(missing) - tied)[:3]}, "
            f"unexpected {sorted(unexpected)[:3]}). Export with the version that trained it."
        )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    AutoProcessor.from_pretrained(start).save_pretrained(partial)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder that holds every rank's shard (Ray Train names them by time)."""
    for state in sorted((folder / "checkpoints" / "learner").glob("checkpoint_*/state.json"), reverse=True):
        shards = list((state.parent / "policy").glob("*_optim_states.pt"))
        if len(shards) == json.loads(state.read_text())["ranks"]:
            return state.parent
    return None
