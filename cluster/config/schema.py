"""The configuration of a run, assembled from the sections of each package."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat

from actors.config import EvaluationConfig, RewardConfig, TrainConfig
from learner.config import GrpoConfig, LearnerConfig, WarmupConfig
from pretext.tasks import TaskName, TaskSettings
from pretext.video.frames import FrameSpec
from rollout.config import RolloutConfig
from store.files import check_bucket
from vocabulary.over_http import OverHttp
from vocabulary.settings import MayChangeOnResume

DRAWN = "drawn"
TINY_PREFIX = "tiny:"


def _expand(value: str) -> str:
    """Replace a leading "~" by the home folder."""
    return str(Path(value).expanduser()) if value.startswith("~") else value


PathLike = Annotated[str, AfterValidator(_expand)]


class ModelConfig(BaseModel, extra="forbid", frozen=True):
    """The model to train."""

    path: Annotated[PathLike, OverHttp(place="roots", also=r"tiny:[a-z0-9_]+")] = Field(
        "Qwen/Qwen3-VL-8B-Instruct",
        description="Hugging Face folder or hub id, or tiny:qwen3_vl / tiny:qwen2_5_vl for a random tiny model",
    )


class DataConfig(TaskSettings, frozen=True, extra="forbid"):
    """The videos, and the samples that are made from them."""

    videos: Annotated[PathLike, OverHttp(place="roots", also=DRAWN)] = Field(
        DRAWN, description="a folder or URL of videos, or `drawn` for simple generated scenes"
    )
    dataset: Annotated[PathLike | None, OverHttp(place="roots")] = Field(
        None, description="dataset of `videossr data build` or `import` to train on, instead of data.videos"
    )
    num_drawn: Annotated[int, OverHttp(largest=10_000)] = Field(
        64, ge=1, description="number of generated scenes for training, if videos=drawn"
    )
    num_drawn_held_out: Annotated[int, OverHttp(largest=2_000)] = Field(
        32, ge=1, description="number of generated scenes for evaluation, if videos=drawn"
    )
    held_out_share: Annotated[float, OverHttp(largest=1)] = Field(
        0.1, ge=0, lt=1, description="share of the videos that is kept for evaluation"
    )
    # VideoSSR-30K: 12 000 grounding, 12 000 jigsaw, 6 000 counting.
    mix: Annotated[dict[TaskName, Annotated[FiniteFloat, Field(ge=0)]], OverHttp(largest_by_task=1e6)] = (
        Field({"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2})
    )
    frames: FrameSpec = FrameSpec()
    system_prompt: Annotated[str, OverHttp(longest=4000)] = "Answer directly."
    max_prompt_tokens: Annotated[int, OverHttp(largest=131_072)] = Field(
        8192, ge=1, description="longest prompt in tokens; a longer one is refused, never truncated"
    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with a weight above 0, in the order of the mix."""
        return tuple(task for task, weight in self.mix.items() if weight > 0)


class ClusterConfig(BaseModel, extra="forbid", frozen=True):
    """The machines, and which process runs where."""

    device: Annotated[Literal["cpu", "cuda"], OverHttp(choice=True)] = "cuda"
    placement: Annotated[Literal["separate", "shared"], OverHttp(choice=True)] = Field(
        "separate", description="rollout and learner on separate GPUs, or on the same GPUs in turn"
    )
    address: Annotated[str, OverHttp(closed="it names another cluster")] = Field(
        "auto", description="Ray cluster to join; auto: the current one, else a new local one"
    )
    node_labels: Annotated[bool, OverHttp(choice=True)] = Field(
        False,
        description="place every process on a Ray node with its label: videossr.io/role=learner, rollout or cpu",
    )
    autoscaling: Annotated[bool, OverHttp(choice=True)] = Field(
        False,
        description="the Ray cluster grows on demand, so a run that needs more than it has now is not refused",
    )
    gpu_memory_gib: Annotated[float, OverHttp(largest=1000)] = Field(
        80.0, gt=0, description="memory of one GPU in GiB, for the check that a run fits"
    )
    num_prompt_workers: Annotated[int, OverHttp(largest=256)] = Field(8, ge=1)
    num_reward_workers: Annotated[int, OverHttp(largest=64)] = Field(2, ge=1)
    push_timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        300.0, gt=0, description="seconds after which a weight push has failed"
    )

    @property
    def shares_gpus(self) -> bool:
        """Whether engine and learner use the same GPUs in turn: the engines sleep while the learner trains."""
        return self.placement == "shared"

    @property
    def weight_transfer(self) -> Literal["gloo", "ipc", "nccl"]:
        """Transport for weight pushes, under vLLM's name."""
        if self.device == "cpu":
            return "gloo"
        return "ipc" if self.shares_gpus else "nccl"


class Config(BaseModel, extra="forbid", frozen=True):
    """The whole configuration of a run."""

    name: Annotated[str, OverHttp(longest=100)] = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name of the run and of its folder below runs_dir",
    )
    seed: Annotated[int, OverHttp(largest=2**32 - 1)] = Field(0, ge=0)
    runs_dir: Annotated[PathLike, OverHttp(place="runs_dir"), MayChangeOnResume()] = "runs"
    bucket: Annotated[Annotated[str, AfterValidator(check_bucket)] | None, OverHttp(place="roots")] = Field(
        None,
        description="address such as s3://BUCKET/PREFIX where checkpoints and frames are kept; null: VIDEOSSR_BUCKET, "
        "else the run's folder, which always has the rest",
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rollout: Annotated[RolloutConfig, MayChangeOnResume()] = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    grpo: GrpoConfig = GrpoConfig()
    learner: LearnerConfig = LearnerConfig()
    train: Annotated[TrainConfig, MayChangeOnResume()] = TrainConfig()
    warmup: WarmupConfig | None = Field(None, description="supervised warm-up of a random model; null: none")
    evaluation: Annotated[EvaluationConfig, MayChangeOnResume()] = EvaluationConfig()
    trackers: Annotated[
        tuple[Literal["wandb", "mlflow"], ...], OverHttp(closed="they send what a run does to other servers")
    ] = Field(
        (),
        description="further places for metrics, besides TensorBoard and the run store; install them yourself",
    )
    cluster: Annotated[ClusterConfig, MayChangeOnResume()] = ClusterConfig()
