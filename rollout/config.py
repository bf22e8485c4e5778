"""What can be chosen about the rollouts."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vocabulary.over_http import OverHttp

Positive = Annotated[int, Field(ge=1)]


class RolloutConfig(BaseModel):
    """The rollout workers, each one vLLM engine, and how they sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_workers: Annotated[Positive, OverHttp(largest=64)] = Field(1, description="vLLM engines")
    tensor_parallel_size: Annotated[Positive, OverHttp(largest=16)] = Field(
        1, description="GPUs of one engine"
    )
    temperature: Annotated[float, OverHttp(largest=10)] = Field(1.0, gt=0)
    max_tokens: Annotated[Positive, OverHttp(largest=32_768)] = Field(2048, description="longest completion")
    dtype: Annotated[Literal["float32", "bfloat16"], OverHttp(choice=True)] = "bfloat16"
    max_num_seqs: Annotated[Positive, OverHttp(largest=1024)] = Field(
        256, description="completions that an engine decodes at once"
    )
    gpu_memory_utilization: Annotated[float, OverHttp(largest=0.95)] = Field(
        0.85, gt=0, lt=1, description="share of a GPU that vLLM takes"
    )
    kv_cache_gib: Annotated[float, OverHttp(largest=64)] = Field(
        1.0, gt=0, description="key/value cache of an engine on a CPU, GiB"
    )
    start_timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        900.0, gt=0, description="an engine that takes longer to start has failed"
    )
    timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        900.0, gt=0, description="an engine that takes longer for its prompts is restarted"
    )
    max_restarts: Annotated[int, OverHttp(largest=100)] = Field(
        10, ge=0, description="times one worker is restarted before the run gives it up"
    )
    vllm_args: Annotated[
        dict[str, Any], OverHttp(closed="it reaches everything in vLLM, code and files too")
    ] = Field({}, description="passed on to vllm.LLM unread")
