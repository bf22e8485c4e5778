"""The settings of the rollouts: section `rollout` of a run's configuration."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from vocabulary.over_http import OverHttp


class RolloutConfig(BaseModel, extra="forbid", frozen=True):
    """The rollout workers, each with one vLLM engine, and how they generate."""

    num_workers: Annotated[int, OverHttp(largest=64)] = Field(
        1, ge=1, description="number of rollout workers, each with one vLLM engine"
    )
    tensor_parallel_size: Annotated[int, OverHttp(largest=16)] = Field(
        1, ge=1, description="number of GPUs of one engine"
    )
    temperature: Annotated[float, OverHttp(largest=10)] = Field(
        1.0, gt=0, description="sampling temperature; the learner trains the same distribution"
    )
    max_tokens: Annotated[int, OverHttp(largest=32_768)] = Field(
        2048, ge=1, description="longest completion, tokens"
    )
    dtype: Annotated[Literal["float32", "bfloat16"], OverHttp(choice=True)] = Field(
        "bfloat16", description="precision of the engine's weights; float32 on a CPU"
    )
    max_num_seqs: Annotated[int, OverHttp(largest=1024)] = Field(
        256, ge=1, description="largest number of completions that an engine generates at the same time"
    )
    gpu_memory_utilization: Annotated[float, OverHttp(largest=0.95)] = Field(
        0.85, gt=0, lt=1, description="share of a GPU's memory that vLLM takes"
    )
    kv_cache_gib: Annotated[float, OverHttp(largest=64)] = Field(
        1.0, gt=0, description="size of an engine's key/value cache on a CPU, GiB"
    )
    start_timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        900.0, gt=0, description="seconds after which an engine that has not started counts as failed"
    )
    timeout_s: Annotated[float, OverHttp(largest=24 * 3600)] = Field(
        900.0, gt=0, description="seconds after which a worker that has not finished its prompts is restarted"
    )
    max_restarts: Annotated[int, OverHttp(largest=100)] = Field(
        10, ge=0, description="how many times a worker is restarted; after that the run continues without it"
    )
    vllm_args: Annotated[
        dict[str, Any], OverHttp(closed="it reaches everything in vLLM, code and files too")
    ] = Field({}, description="further arguments for vllm.LLM, passed on unchecked")
