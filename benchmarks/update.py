"""Compare forward and backward of one group with its prompt computed once, and once per completion (the plain way).

    python -m benchmarks.update                 # CPU, a tiny random Qwen3-VL, about four minutes
    python -m benchmarks.update --device cuda --model DIR --dtype bfloat16

Stored as results/update.json (results/update-cuda.json). The plain way is transformers' own forward on a padded batch,
in which every row has its prompt and its video. Seconds are the best of several alternating turns in one process, on
one core. Memory is what a new process (or the GPU) uses beyond the loaded model.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.table import Result, Target, show, store
from learner.batch import MicroBatch, PromptWithCompletions, collate
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model
from pretext.recipe import Clip
from rollout.prompt import PromptBuilder, forbidden_token_ids

CASES = [(tokens, completion) for tokens in (200, 800, 2000) for completion in (10, 200)]
GROUP_SIZE, SIDE_PX, TURNS = 8, 128, 3
FRAMES = {200: 16, 800: 64, 2000: 160}  # frames for each number of prompt tokens, at 12.5 per frame
TARGETS = {(2000, 10): 5.0, (800, 10): 5.0, (2000, 200): 2.5}
WAYS = ("plain", "shared")


def main() -> None:
    """Measure all cases and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="model folder; default: a tiny model with random weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--attention", choices=("sdpa", "flex"), default="sdpa", help="attention of the shared way"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(_child(options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        if options.model is None:
            options.model = str(_tiny_model(Path(scratch)))
        command = " ".join(["python -m benchmarks.update", *_public(sys.argv[1:])])
        results = [result for case in CASES for result in _measure(case, options, command)]
    store("update" if options.device == "cpu" else f"update-{options.device}", results)
    show(results)


def _public(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with folders of this machine replaced by DIR."""
    return ["DIR" if Path(argument).is_dir() else argument for argument in arguments]


def _measure(case: tuple[int, int], options: argparse.Namespace, command: str) -> list[Result]:
    speed = _run(options, case, WAYS, TURNS)
    memory = {way: _run(options, case, (way,), 1)["peak_bytes"] for way in WAYS}
    name = f"prompt {speed['prompt_tokens']}, {GROUP_SIZE} completions of {case[1]}"
    target = Target(bound="at least", limit=TARGETS[case]) if case in TARGETS else None
    ratio = speed["seconds"]["plain"] / speed["seconds"]["shared"]
    limit = Target(bound="at most", limit=1e-5) if options.dtype == "float32" else None
    figures: list[tuple[str, float, str, Target | None]] = [
        ("plain", speed["seconds"]["plain"], "s", None),
        ("shared", speed["seconds"]["shared"], "s", None),
        ("faster", ratio, "times", target),
        ("largest logprob difference", speed["gap"], "nats", limit),
        ("memory, plain over shared", memory["plain"] / memory["shared"], "times", None),
    ]
    return [
        Result(name=f"{name}: {what}", value=value, unit=unit, target=bound, command=command)
        for what, value, unit, bound in figures
    ]


def _run(options: argparse.Namespace, case: tuple[int, int], ways: Sequence[str], turns: int) -> Any:
    """Run a child process and return its figures."""
    child = json.dumps({"case": case, "ways": ways, "turns": turns})
    arguments = [f"--{name}={getattr(options, name)}" for name in ("model", "device", "dtype", "attention")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.update", *arguments, "--child", child],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _child(options: argparse.Namespace) -> dict[str, Any]:
    job = json.loads(options.child)
    device = torch.device(options.device)
    spec, builder = _spec(options)
    batch = _batch(builder, spec, *job["case"]).to(device)
    weights = torch.randn(len(batch.sequence), generator=torch.Generator().manual_seed(0)).to(device)
    models = {}
    for way in job["ways"]:
        model = load_model(spec, packed=way == "shared").to(device)
        models[way] = PolicyModel(model, spec, shared_prefix=way == "shared").train()
    before = _memory_bytes(device)
    seconds: dict[str, list[float]] = {way: [] for way in models}
    logprobs: dict[str, torch.Tensor] = {}
    for turn in range(job["turns"] + (job["turns"] > 1)):
        for way, policy in models.items():
            policy.zero_grad()
            started = _clock(device)
            found = policy(batch)[0]
            (found * weights).sum().backward()
            logprobs[way] = found.detach()
            if turn > 0 or job["turns"] == 1:  # the first turn warms up
                seconds[way].append(_clock(device) - started)
    values = list(logprobs.values())
    return {
        "prompt_tokens": batch.spans[0].prompt,
        "seconds": {way: min(times) for way, times in seconds.items()},
        "gap": float((values[0] - values[-1]).abs().max()),
        "peak_bytes": _memory_bytes(device) - before,
    }


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()  # independent of other processes on the machine


def _memory_bytes(device: torch.device) -> int:
    """Return the peak memory so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _spec(options: argparse.Namespace) -> tuple[ModelSpec, PromptBuilder]:
    from transformers import AutoConfig, AutoProcessor

    processor, config = (
        AutoProcessor.from_pretrained(options.model),
        AutoConfig.from_pretrained(options.model),
    )
    builder = PromptBuilder(processor, config, max_prompt_tokens=10_000)
    vocab_size = config.get_text_config().vocab_size
    spec = ModelSpec(
        path=options.model,
        dtype=options.dtype,
        attention=options.attention,
        pad_token_id=processor.tokenizer.pad_token_id,
        forbidden=forbidden_token_ids(processor.tokenizer, vocab_size),
        pixel_mean=builder.pixel_mean,
        pixel_std=builder.pixel_std,
        temperature=1.0,
    )
    return spec, builder


def _batch(builder: PromptBuilder, spec: ModelSpec, prompt_tokens: int, completion_tokens: int) -> MicroBatch:
    rng = np.random.default_rng(0)
    num_frames = FRAMES[prompt_tokens]
    frames = rng.integers(0, 256, (num_frames, SIDE_PX, SIDE_PX, 3), np.uint8)
    clip = Clip(frames, np.arange(num_frames) / 2)
    _, prompt = builder.build(system="", content=(0, "When?"), clips=[clip])
    allowed = [token for token in range(300) if token not in spec.forbidden]
    completions = [tuple(rng.choice(allowed, completion_tokens).tolist()) for _ in range(GROUP_SIZE)]
    return collate([PromptWithCompletions(prompt, completions, [(0.0,) * completion_tokens] * GROUP_SIZE)])


def _tiny_model(folder: Path) -> Path:
    from learner.modeling.tiny import create_tiny_model

    times = [f"<{second}.{tenth} seconds>" for second in range(80) for tenth in (0, 5)]
    return create_tiny_model(folder / "model", corpus=["system user assistant When?", *times] * 2)


if __name__ == "__main__":
    main()
