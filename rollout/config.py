"""What can be chosen about the rollouts."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


class RolloutConfig(BaseModel):
    """The rollout workers, each one vLLM engine, and how they sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_workers: Positive = Field(1, description="vLLM engines")
    tensor_parallel_size: Positive = Field(1, description="GPUs of one engine")
    temperature: float = Field(1.0, gt=0)
    max_tokens: Positive = Field(2048, description="longest completion")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    max_num_seqs: Positive = Field(256, description="completions that an engine decodes at once")
    gpu_memory_utilization: float = Field(0.85, gt=0, lt=1, description="share of a GPU that vLLM takes")
    kv_cache_gib: float = Field(1.0, gt=0, description="key/value cache of an engine on a CPU, GiB")
    start_timeout_s: float = Field(900.0, gt=0, description="an engine that takes longer to start has failed")
    timeout_s: float = Field(
        900.0, gt=0, description="an engine that takes longer for its prompts is restarted"
    )
    max_restarts: int = Field(
        10, ge=0, description="times one worker is restarted before the run gives it up"
    )
    vllm_args: dict[str, Any] = Field({}, description="passed on to vllm.LLM unread")
