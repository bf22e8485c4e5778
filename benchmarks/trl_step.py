"""Run a learner step of TRL's GRPOTrainer on a job, in TRL's own environment (`benchmarks/trl/`).

    OMP_NUM_THREADS=1 taskset -c 0 TRL_VENV/bin/python -m benchmarks.trl_step JOB.json [--micro-batch 8] [--own-prompts]

TRL 1.16 does not support videos (it reads only `image` and `images` of a sample), so it gets the frames as images. All
parts of its step count except generating: loading, image processing, forward, backward, optimizer and logging. It is
set up to be fast:

- completions and the prompts' token ids come from a table, through its public `rollout_func`. Without that function,
  TRL runs the image processor on every row to make the ids, and again for training. `--own-prompts` measures that path,
  with only the sampling replaced;
- images are PIL images in memory, not files;
- no reference (`beta=0`), no pass for old logprobs (one update per batch), no gradient checkpointing;
- no dropout, no saving, no reporting, no images in its log.

Prints one line of JSON, see `benchmarks.job.StepClock.report`.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.job import StepClock, StepJob


class TimedTrainer(GRPOTrainer):
    """A GRPOTrainer that times the preparation of a batch, and takes completions from a table instead of generating."""

    clock: StepClock
    table: "Table"

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[Any, None]:
        """Return the table's completions instead of generating. TRL does not call this if it has a `rollout_func`."""
        self.table.prompt_ids = prompt_ids[:: self.table.job.group_size]
        return self.table.completion_ids(), None

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.clock.start_preparing()
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.clock.end_preparing()
        return output


class StepTimes(TrainerCallback):
    """A callback that times each step from the end of the previous one, so that loading its samples is included."""

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._clock.start_step()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._clock.end_step()
        self._clock.start_step()


class Table:
    """The completions and rewards of a job, returned by functions that TRL calls. Rows come in the dataset's order."""

    def __init__(self, job: StepJob) -> None:
        self.job = job
        self.prompt_ids: list[list[int]] = []

    def completion_ids(self) -> list[list[int]]:
        """Return the token ids of all completions."""
        return [ids for group in self.job.completions for ids in group]

    def rollout(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """Return a batch of rollouts, for TRL's `rollout_func`. Each prompt is repeated `group_size` times."""
        number = self.job.group_size
        if not self.prompt_ids:  # the first step warms up
            self.prompt_ids = trainer.processing_class.apply_chat_template(
                conversation=prompts[::number], add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        return {
            "prompt_ids": [ids for ids in self.prompt_ids for _ in range(number)],
            "completion_ids": self.completion_ids(),
            "logprobs": None,
        }

    def reward(self, *, completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float]:
        """Return the rewards of completions, and check their order."""
        number = self.job.group_size
        places = [(prompt, index % number) for index, prompt in enumerate(row)]
        for (prompt, k), ids in zip(places, completion_ids, strict=True):
            assert ids == self.job.completions[prompt][k], "TRL's rows are not in the table's order"
        return [self.job.rewards[prompt][k] for prompt, k in places]


def make_dataset(job: StepJob) -> Dataset:
    """Return the job's prompts, once per step. Images are added when a row is read."""
    frames, _ = job.load_frames()
    images = [[Image.fromarray(frame) for frame in clip] for clip in frames]
    messages = [{"role": "system", "content": job.system}, {"role": "user", "content": job.question}]
    rows = [prompt for _ in range(job.num_steps + 1) for prompt in range(job.num_prompts)]
    dataset = Dataset.from_dict({"prompt": [messages] * len(rows), "row": rows})
    return dataset.with_transform(lambda batch: batch | {"images": [images[row] for row in batch["row"]]})


def load_processor(folder: str) -> Any:
    """Return the model's processor, with a chat template for images."""
    processor = AutoProcessor.from_pretrained(folder)
    template = processor.chat_template
    if "<|image_pad|>" not in template:  # the tiny model's template supports only videos
        template = template.replace("'video'", "'image'").replace("<|video_pad|>", "<|image_pad|>")
        processor.chat_template = processor.tokenizer.chat_template = template
    return processor


def run(job: StepJob, *, micro_batch: int, own_prompts: bool, folder: str) -> dict[str, Any]:
    """Train `job.num_steps + 1` steps and report.

    Args:
        micro_batch: completions in one forward and backward.
        own_prompts: let TRL prepare prompts for sampling itself.
        folder: for the trainer's output.
    """
    config = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        max_steps=job.num_steps + 1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=job.num_completions // micro_batch,
        num_generations=job.group_size,
        max_completion_length=max(len(ids) for group in job.completions for ids in group),
        shuffle_dataset=False,
        beta=0.0,
        loss_type="dapo",  # a mean over the batch's tokens, like ours
        gradient_checkpointing=False,
        learning_rate=job.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        logging_steps=1,
        log_multimodal=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    clock, table = StepClock(), Table(job)
    trainer = TimedTrainer(
        model=AutoModelForImageTextToText.from_pretrained(job.model, dtype=torch.float32),
        processing_class=load_processor(job.model),
        reward_funcs=table.reward,
        rollout_func=None if own_prompts else table.rollout,
        args=config,
        train_dataset=make_dataset(job),
        callbacks=[StepTimes(clock)],
    )
    trainer.clock, trainer.table = clock, table
    trainer.train()
    first = trainer.state.log_history[0]
    return clock.report(
        job,
        loss=float(first["loss"]),
        grad_norm=float(first["grad_norm"]),
        prompt_tokens=len(table.prompt_ids[0]),
    )


def main() -> None:
    """Run the job and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="file written by benchmarks.job.StepJob.write")
    parser.add_argument("--micro-batch", type=int, default=8, help="completions in one forward and backward")
    parser.add_argument(
        "--own-prompts", action="store_true", help="let TRL prepare prompts for sampling itself"
    )
    options = parser.parse_args()
    job = StepJob.read(options.job)
    if job.num_completions % options.micro_batch:
        parser.error(
            f"--micro-batch={options.micro_batch} does not divide the job's {job.num_completions} completions. "
            f"Use a divisor, e.g. {job.group_size}."
        )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = run(job, micro_batch=options.micro_batch, own_prompts=options.own_prompts, folder=folder)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
