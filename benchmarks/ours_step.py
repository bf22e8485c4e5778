"""Run our learner's step on a job: build prompts from frames, then call `DeepSpeedPolicy.update`.

    OMP_NUM_THREADS=1 taskset -c 0 .venv/bin/python -m benchmarks.ours_step JOB.json

This is the same work as in `benchmarks.trl_step`, from frames in memory to updated weights: no KL, fp32, AdamW, one
update per batch. The configuration is the default except for the CPU's settings (fp32, no gradient checkpointing).
The last line of output is JSON, see `benchmarks.job.StepClock.report`.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from transformers import AutoConfig, AutoProcessor

from actors.workers.prompt_worker import read_model_facts
from benchmarks.job import StepClock, StepJob
from learner.commands import TrainingGroup
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec
from learner.policy import DeepSpeedPolicy
from pretext.recipe import Clip
from rollout.prompt import ModelInput, PromptBuilder

_MAX_PROMPT_TOKENS = 16384


def make_policy(job: StepJob) -> DeepSpeedPolicy:
    """Return the policy of a run with one rank, in this process."""
    os.environ["LOCAL_RANK"] = "0"  # DeepSpeed requires it; a launcher would set it
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    spec = ModelSpec(
        path=job.model,
        dtype="float32",
        attention="sdpa",
        temperature=1.0,
        **read_model_facts(job.model, _MAX_PROMPT_TOKENS),
    )
    return DeepSpeedPolicy(
        spec,
        LearnerConfig(dtype="float32", gradient_checkpointing=False, learning_rate=job.learning_rate),
        GrpoConfig(group_size=job.group_size, kl_coef=0.0),
        device="cpu",
        reference_path=job.model,
        total_steps=job.num_steps + 1,
        max_tokens=max(len(ids) for group in job.completions for ids in group),
    )


def run(job: StepJob) -> dict[str, Any]:
    """Train `job.num_steps + 1` steps and report."""
    frames, times_s = job.load_frames()
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(job.model),
        AutoConfig.from_pretrained(job.model),
        max_prompt_tokens=_MAX_PROMPT_TOKENS,
    )
    policy, clock = make_policy(job), StepClock()
    clips = [Clip(np.array(video), times) for video, times in zip(frames, times_s, strict=True)]
    metrics: list[dict[str, float]] = []
    for step in range(job.num_steps + 1):
        clock.start_step()
        clock.start_preparing()
        prompts = [
            builder.build(system=job.system, content=(0, job.question), clips=[clip])[1] for clip in clips
        ]
        clock.end_preparing()
        metrics.append(policy.update(_groups(job, prompts, step), step=step))
        clock.end_step()
    return clock.report(
        job,
        loss=metrics[0]["policy/loss"],
        grad_norm=metrics[0]["policy/grad_norm"],
        prompt_tokens=len(prompts[0].token_ids),
    )


def _groups(job: StepJob, prompts: list[ModelInput], step: int) -> list[TrainingGroup]:
    return [
        TrainingGroup(
            group_id=str(index),
            task="given",
            fetch_prompt=partial(_itself, prompt),
            prompt_tokens=len(prompt.token_ids),
            completions=tuple(tuple(ids) for ids in completions),
            rollout_logprobs=tuple((0.0,) * len(ids) for ids in completions),  # affects a metric only
            rewards=tuple(rewards),
            truncated=(False,) * len(completions),
            policy_version=step,
        )
        for index, (prompt, completions, rewards) in enumerate(
            zip(prompts, job.completions, job.rewards, strict=True)
        )
    ]


def _itself(prompt: ModelInput) -> ModelInput:
    return prompt


def main() -> None:
    """Run the job and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="file written by benchmarks.job.StepJob.write")
    torch.set_num_threads(1)
    print(json.dumps(run(StepJob.read(parser.parse_args().job))))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
