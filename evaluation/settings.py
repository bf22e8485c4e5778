"""The settings of an evaluation on a benchmark."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class EvalSettings(BaseModel, frozen=True, extra="forbid"):
    """The settings of an evaluation. Each field is an option of `videossr eval`."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="cpu, cuda, or auto: cuda if there are GPUs"
    )
    workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="number of vLLM engines; default: one for each GPU, or one on a CPU"
    )
    prompt_workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="processes that read videos; default: 6 for each GPU engine, 1 on a CPU"
    )
    tensor_parallel: int = Field(1, ge=1, description="on GPUs: number of GPUs for each engine")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="float32, bfloat16, or auto: bfloat16 on GPUs"
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="evaluate only the first N questions of each column"
    )
    max_tokens: int = Field(
        64, ge=1, description="longest completion in tokens; the right completions have a few digits"
    )
    max_prompt_tokens: int = Field(
        8192, ge=1, description="longest prompt in tokens; a longer one is refused, never truncated"
    )
    temperature: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="sampling temperature; 0: always the most likely token"
    )
    seed: int = Field(0, ge=0, description="seed of the sampling, if the temperature is above 0")
    system_prompt: str | None = Field(
        None,
        description="system prompt; default: the run's own, or 'Answer directly.' for any other model",
    )
    gpu_memory: float = Field(
        0.85, gt=0, lt=1, description="on GPUs: share of a GPU's memory that an engine takes"
    )
    kv_cache_gib: float = Field(
        4.0, gt=0, description="on a CPU: size of the key/value cache of each engine in GiB"
    )
    timeout_s: float = Field(
        1800.0, gt=0, description="seconds without a completion after which the evaluation fails"
    )
    address: str = Field(
        "auto", description="Ray cluster to join; auto: the current one, else a new local one"
    )
