"""What can be chosen about an evaluation."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class EvalSettings(BaseModel, frozen=True, extra="forbid"):
    """How a bench is answered. Each is an option of `videossr eval`."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cpu, cuda, or auto: GPUs if any")
    workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="vLLM engines; if not given, one for each GPU, or one on a CPU"
    )
    prompt_workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="processes that read videos; if not given, 6 for each GPU engine, 1 on a CPU"
    )
    tensor_parallel: int = Field(1, ge=1, description="on GPUs: how many one engine spreads over")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="float32, bfloat16, or auto: bfloat16 on GPUs"
    )
    limit: Annotated[int, Field(ge=1)] | None = Field(
        None, description="ask only so many questions of each column"
    )
    max_tokens: int = Field(64, ge=1, description="longest answer; no right one is longer than some digits")
    max_prompt_tokens: int = Field(8192, ge=1, description="a longer prompt is refused, never cut")
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False, description="0: the likeliest answer")
    seed: int = Field(0, ge=0, description="of answers drawn at a temperature")
    system_prompt: str | None = Field(
        None,
        description="before the question; if not given, the run's own, or for a model 'Answer directly.'",
    )
    gpu_memory: float = Field(0.85, gt=0, lt=1, description="on GPUs: share of one that an engine takes")
    kv_cache_gib: float = Field(4.0, gt=0, description="on a CPU: key/value cache of an engine, GiB")
    timeout_s: float = Field(1800.0, gt=0, description="no answer for so long: the evaluation has failed")
    address: str = Field("auto", description="a Ray to join; auto: the one around, or a new local one")
