"""A real vLLM engine that answers video prompts and can be given new weights.

The engine core runs in the caller (with several GPUs, beside their worker processes), so a Ray actor owns it
whole and its death is the actor's death. Importing this module does not import vLLM; making an engine does.
"""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.prompt import EngineInput, video_metadata


@dataclass(frozen=True)
class EngineOptions:
    """How to start an engine.

    Args:
        model: Hugging Face folder or hub id.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16".
        seed: for the engine; requests carry their own.
        max_model_len: prompt and completion together, tokens.
        max_num_seqs: completions decoded at once.
        max_videos: videos in one prompt, at most.
        tensor_parallel_size: GPUs of one engine.
        gpu_memory_utilization: share of a GPU's memory that vLLM takes.
        kv_cache_gib: size of the key/value cache on a CPU, GiB.
        weight_transfer: "gloo", "nccl" or "ipc".
        sleep: whether the engine gives its GPU memory back between steps (shared placement).
        vllm_args: passed on to vLLM unread.
    """

    model: str
    device: str
    dtype: str
    seed: int
    max_model_len: int
    max_num_seqs: int
    max_videos: int
    tensor_parallel_size: int
    gpu_memory_utilization: float
    kv_cache_gib: float
    weight_transfer: str
    sleep: bool
    vllm_args: dict[str, Any]


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. `temperature` 0 is greedy."""

    num_completions: int
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """One answer. `token_ids` ends with the end-of-turn token when `finish_reason` is "stop"."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token, temperature and forbidden tokens in them, nats
    text: str  # special tokens shown, but for the end-of-turn token that ends it
    finish_reason: str  # "stop" or "length"


class VllmEngine:
    """Generates, and takes weights through vLLM's weight-transfer API.

    Order of an update: `start_weight_update`, `update_weights` (blocks until the learner has sent all),
    `finish_weight_update`; the caller makes sure that nothing is generated in between.
    """

    def __init__(self, options: EngineOptions) -> None:
        # Read by vLLM at import or start: the engine core in this process, nothing reported home.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM
        from vllm.config import WeightTransferConfig

        arguments: dict[str, Any] = {
            "model": options.model,
            "dtype": options.dtype,
            "seed": options.seed,
            "max_model_len": options.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "limit_mm_per_prompt": {"video": options.max_videos, "image": 0},
            # Frames arrive at their final size and at known times: the processor must leave them alone.
            "mm_processor_kwargs": {"do_resize": False, "do_sample_frames": False},
            # Logprobs of the distribution that was sampled from, temperature and forbidden tokens in it.
            "logprobs_mode": "processed_logprobs",
            "logits_processors": ["rollout.logits:ForbidVisionTokens"],
            "weight_transfer_config": WeightTransferConfig(backend=options.weight_transfer),
            "tensor_parallel_size": options.tensor_parallel_size,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
        }
        if options.device == "cpu":
            arguments |= {
                "enforce_eager": True,
                "distributed_executor_backend": "uni",
                # A prompt prefilled in parts discards a sampled token and winds its seeded generator back,
                # which a CPU generator cannot ("does not use offset"): prefill whole prompts.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(options.max_model_len, 8192),
                "kv_cache_memory_bytes": int(options.kv_cache_gib * 2**30),
            }
        else:
            arguments |= {
                "gpu_memory_utilization": options.gpu_memory_utilization,
                "enable_sleep_mode": options.sleep,
            }
        self._llm = LLM(**(arguments | options.vllm_args))

    def generate(
        self, inputs: Sequence[EngineInput], samplings: Sequence[Sampling]
    ) -> list[list[Completion]]:
        """What `stream` yields, all of it, in the order of `inputs`. Raises as `stream` does."""
        groups = dict(group for groups in self.stream(inputs, samplings) for group in groups)
        return [groups[index] for index in range(len(inputs))]

    def stream(
        self, inputs: Sequence[EngineInput], samplings: Sequence[Sampling]
    ) -> Generator[list[tuple[int, list[Completion]]], None, None]:
        """Answer every prompt: (its index, its `num_completions` completions in a stable order), once all are done.

        Prompts come as they are finished, those together that are finished together. Requests that are still
        open when the caller stops asking, or when something raises, are dropped.

        Raises:
            RuntimeError: vLLM made other token ids of a prompt than the learner will see.
        """
        engine = self._llm.llm_engine
        requests = self._llm.enqueue(
            [vllm_prompt(entry) for entry in inputs],
            [vllm_params(each) for each in samplings],
            use_tqdm=False,
        )
        # vLLM counts requests and makes the numbers unique with a suffix; its outputs bear the number alone.
        index_of = {request.partition("-")[0]: index for index, request in enumerate(requests)}
        try:
            while index_of:
                finished = [output for output in engine.step() if output.finished]
                groups = []
                for output in finished:
                    index = index_of.pop(output.request_id)
                    _check_prompt(inputs[index], output)
                    choices = sorted(output.outputs, key=lambda choice: choice.index)
                    groups.append((index, [_completion(choice) for choice in choices]))
                if groups:
                    yield groups
        finally:
            if index_of:
                engine.abort_request([requests[index] for index in index_of.values()], internal=True)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._llm.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        self._llm.start_weight_update()

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._llm.update_weights({"update_info": update_info})

    def finish_weight_update(self) -> None:
        """Put the received weights in force and drop what the old ones computed.

        Both caches are keyed by content, not by weights: key/value blocks of a prompt seen before, and
        the vision tower's features of a video seen before, would be served as if nothing had changed.
        """
        self._llm.finish_weight_update()
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM could not drop its prefix cache: requests were running during a push.")
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_mm_cache()

    def sleep(self) -> None:
        """Give weights and caches' GPU memory back; the next push restores the weights."""
        self._llm.sleep(level=2)

    def wake_up(self) -> None:
        self._llm.wake_up()


def vllm_prompt(entry: EngineInput) -> dict[str, Any]:
    videos = [
        (video, video_metadata(times)) for video, times in zip(entry.videos, entry.times_s, strict=True)
    ]
    return {"prompt_token_ids": list(entry.token_ids), "multi_modal_data": {"video": videos}}


def vllm_params(sampling: Sampling) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        n=sampling.num_completions,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        logprobs=0,  # the sampled token's own
        skip_special_tokens=False,  # hidden from the text, they would hide from the reward too
    )


def _check_prompt(entry: EngineInput, output: Any) -> None:
    if tuple(output.prompt_token_ids) != entry.expanded_token_ids:
        raise RuntimeError(
            f"vLLM expanded a prompt to {len(output.prompt_token_ids)} tokens that differ from the "
            f"learner's {len(entry.expanded_token_ids)}: this vLLM version builds video prompts "
            "differently; use the version that pyproject.toml names."
        )


def _completion(choice: Any) -> Completion:
    logprobs = [
        position[token].logprob for token, position in zip(choice.token_ids, choice.logprobs, strict=True)
    ]
    return Completion(tuple(choice.token_ids), tuple(logprobs), choice.text, choice.finish_reason)
