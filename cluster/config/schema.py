"""The configuration of a run, assembled from each package's own."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from learner.config import GrpoConfig, LearnerConfig, WarmupConfig
from pretext.tasks import TaskName, TaskSettings
from pretext.video.frames import FrameSpec
from rollout.config import RolloutConfig
from store.files import check_bucket

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

DRAWN = "drawn"
TINY_PREFIX = "tiny:"


def _expand(value: str) -> str:
    return str(Path(value).expanduser()) if value.startswith("~") else value


PathLike = Annotated[str, AfterValidator(_expand)]  # "~" is the home folder


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Section):
    path: PathLike = Field(
        "Qwen/Qwen3-VL-8B-Instruct",
        description="Hugging Face folder or hub id, or tiny:qwen3_vl / tiny:qwen2_5_vl for a random tiny model",
    )


class DataConfig(TaskSettings, frozen=True, extra="forbid"):
    videos: PathLike = Field(DRAWN, description="a folder of videos, or `drawn`: simple scenes drawn by us")
    dataset: PathLike | None = Field(
        None, description="a dataset of `videossr data build` or `import`; then its samples are trained on"
    )
    num_drawn: Positive = Field(64, description="scenes drawn for training when videos=drawn")
    num_drawn_held_out: Positive = Field(32, description="scenes drawn for evaluation when videos=drawn")
    held_out_share: float = Field(
        0.1, ge=0, lt=1, description="share of a folder's videos kept for evaluation"
    )
    # VideoSSR-30K: 12 000 grounding, 12 000 jigsaw, 6 000 counting.
    mix: dict[TaskName, Weight] = Field({"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2})
    frames: FrameSpec = FrameSpec()
    system_prompt: str = "Answer directly."
    max_prompt_tokens: Positive = Field(8192, description="a longer prompt is refused, never cut")


class TrainConfig(_Section):
    steps: Positive = 468
    prompts_per_step: Positive = 64
    max_staleness: Literal[0, 1] = Field(
        0,
        description="0: a step's answers are sampled from the newest weights; 1: from those before, while the "
        "learner trains",
    )
    checkpoint_every: Positive = Field(20, description="steps from one checkpoint to the next")
    keep_checkpoints: Positive = Field(
        2,
        description="kept at the end: those of the highest held-out scores, or else the newest; the last always",
    )
    recorded_groups: int = Field(4, ge=0, description="groups per step whose rollouts are written down whole")


class EvaluationConfig(_Section):
    samples_per_task: int = Field(
        200, ge=0, description="held-out samples per task, before and after; 0: none"
    )
    every: int = Field(
        0,
        ge=0,
        description="also after every so many steps, with a checkpoint each; 0: before and after only",
    )
    sampled_completions: Positive = Field(4, description="completions per sample for the sampled score")


class RewardConfig(_Section):
    function: str | None = Field(
        None,
        description="package.module:name of a reward of your own, (task, text, answer) to a number from 0 to 1, in "
        "place of the tasks' rules",
    )


class ClusterConfig(_Section):
    device: Literal["cpu", "cuda"] = "cuda"
    placement: Literal["separate", "shared"] = Field(
        "separate", description="rollout and learner on GPUs of their own, or on the same ones in turn"
    )
    address: str = Field("auto", description="Ray to join; auto: the one this runs in, or a new local one")
    node_labels: bool = Field(
        False,
        description="every process asks for a Ray node labelled for it: videossr.io/role=learner, rollout or cpu",
    )
    autoscaling: bool = Field(
        False,
        description="the Ray joined grows on demand: what it has when the run starts is no reason to refuse",
    )
    gpu_memory_gib: float = Field(80.0, gt=0, description="of one GPU, for the plan's memory check")
    num_prompt_workers: Positive = 8
    num_reward_workers: Positive = 2
    push_timeout_s: float = Field(300.0, gt=0, description="a weight push that takes longer has failed")


class Config(_Section):
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder under runs_dir")
    seed: int = Field(0, ge=0)
    runs_dir: PathLike = "runs"
    bucket: Annotated[str, AfterValidator(check_bucket)] | None = Field(
        None,
        description="s3://BUCKET/PREFIX or the like, for checkpoints and frames; the run's folder has the rest. null: "
        "VIDEOSSR_BUCKET, or else the folder has these too",
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    grpo: GrpoConfig = GrpoConfig()
    learner: LearnerConfig = LearnerConfig()
    train: TrainConfig = TrainConfig()
    warmup: WarmupConfig | None = Field(None, description="supervised start for a model that knows nothing")
    evaluation: EvaluationConfig = EvaluationConfig()
    trackers: tuple[Literal["wandb", "mlflow"], ...] = Field(
        (), description="where metrics go besides TensorBoard and the run store; each is installed by you"
    )
    cluster: ClusterConfig = ClusterConfig()
