"""The configuration of a run, assembled from each package's own."""

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

DRAWN = "drawn"
TINY_PREFIX = "tiny:"


def _expand(value: str) -> str:
    return str(Path(value).expanduser()) if value.startswith("~") else value


PathLike = Annotated[str, AfterValidator(_expand)]  # "~" is the home folder


class ModelConfig(BaseModel, extra="forbid", frozen=True):
    path: Annotated[PathLike, OverHttp(place="roots", also=r"tiny:[a-z0-9_]+")] = Field(
        "Qwen/Qwen3-VL-8B-Instruct",
        description="Hugging Face folder or hub id, or tiny:qwen3_vl / tiny:qwen2_5_vl for a random tiny model",
    )


class DataConfig(TaskSettings, frozen=True, extra="forbid"):
    videos: Annotated[PathLike, OverHttp(place="roots", also=DRAWN)] = Field(
        DRAWN, description="a folder of videos, or `drawn`: simple scenes drawn by us"
    )
    dataset: Annotated[PathLike | None, OverHttp(place="roots")] = Field(
        None, description="a dataset of `videossr data build` or `import`; then its samples are trained on"
    )
    num_drawn: Annotated[int, OverHttp(largest=10_000)] = Field(
        64, ge=1, description="scenes drawn for training when videos=drawn"
    )
    num_drawn_held_out: Annotated[int, OverHttp(largest=2_000)] = Field(
        32, ge=1, description="scenes drawn for evaluation when videos=drawn"
    )
    held_out_share: Annotated[float, OverHttp(largest=1)] = Field(
        0.1, ge=0, lt=1, description="share of a folder's videos kept for evaluation"
    )
    # VideoSSR-30K: 12 000 grounding, 12 000 jigsaw, 6 000 counting.
    mix: Annotated[dict[TaskName, Annotated[FiniteFloat, Field(ge=0)]], OverHttp(largest_by_task=1e6)] = (
        Field({"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2})
    )
    frames: FrameSpec = FrameSpec()
    system_prompt: Annotated[str, OverHttp(longest=4000)] = "Answer directly."
    max_prompt_tokens: Annotated[int, OverHttp(largest=131_072)] = Field(
        8192, ge=1, description="a longer prompt is refused, never cut"
    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with a weight above 0, in the order of the mix."""
        return tuple(task for task, weight in self.mix.items() if weight > 0)


class ClusterConfig(BaseModel, extra="forbid", frozen=True):
    device: Annotated[Literal["cpu", "cuda"], OverHttp(choice=True)] = "cuda"
    placement: Annotated[Literal["separate", "shared"], OverHttp(choice=True)] = Field(
        "separate", description="rollout and learner on GPUs of their own, or on the same ones in turn"
    )
    address: Annotated[str, OverHttp(closed="it names another cluster")] = Field(
        "auto", description="Ray to join; auto: the one this runs in, or a new local one"
    )
    node_labels: Annotated[bool, OverHttp(choice=True)] = Field(
        False,
        description="every process asks for a Ray node labelled for it: videossr.io/role=learner, rollout or cpu",
    )
    autoscaling: Annotated[bool, OverHttp(choice=True)] = Field(
        False,
        description="the Ray joined grows on demand: what it has when the run starts is no reason to refuse",
    )
    gpu_memory_gib: Annotated[float, OverHttp(largest=1000)] = Field(
        80.0, gt=0, description="of one GPU, for the plan's memory check"
    )
    num_prompt_workers: Annotated[int, OverHttp(largest=256)] = Field(8, ge=1)
    num_reward_workers: Annotated[int, OverHttp(largest=64)] = Field(2, ge=1)
    push_timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        300.0, gt=0, description="a weight push that takes longer has failed"
    )


class Config(BaseModel, extra="forbid", frozen=True):
    name: Annotated[str, OverHttp(longest=100)] = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder under runs_dir"
    )
    seed: Annotated[int, OverHttp(largest=2**32 - 1)] = Field(0, ge=0)
    runs_dir: Annotated[PathLike, OverHttp(place="runs_dir")] = "runs"
    bucket: Annotated[Annotated[str, AfterValidator(check_bucket)] | None, OverHttp(place="roots")] = Field(
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
    trackers: Annotated[
        tuple[Literal["wandb", "mlflow"], ...], OverHttp(closed="they send what a run does to other servers")
    ] = Field(
        (), description="where metrics go besides TensorBoard and the run store; each is installed by you"
    )
    cluster: ClusterConfig = ClusterConfig()
