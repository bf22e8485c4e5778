"""A vLLM engine that generates completions for video prompts and receives new weights.

The engine core runs in the calling process (with several GPUs, vLLM adds worker processes), so it lives and dies with
the Ray actor that owns it. Importing this module does not import vLLM; creating an engine does.
"""

import logging
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.config import RolloutConfig
from rollout.prompt import EngineInput, video_metadata

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """The section of the configuration and the facts of the run that an engine starts with.

    Args:
        model: Hugging Face folder or hub id.
        device: "cpu" or "cuda".
        seed: seed of the engine; each prompt also has its own sampling seed.
        max_model_len: largest number of tokens of a prompt with its completion.
        max_videos: largest number of videos in one prompt.
        weight_transfer: "gloo", "nccl" or "ipc"; None: the engine never receives weights.
        shares_gpus: whether the engine frees its GPU memory while the learner trains on the same GPU.
    """

    model: str
    rollout: RolloutConfig
    device: str
    seed: int
    max_model_len: int
    max_videos: int
    weight_transfer: str | None
    shares_gpus: bool


@dataclass(frozen=True)
class Sampling:
    """The settings of generation for one prompt. A temperature of 0 is greedy."""

    num_completions: int
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """One generated completion. `token_ids` ends with the end-of-turn token if `finish_reason` is "stop"."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each token, nats, after temperature and forbidden tokens
    text: str  # with special tokens, except the end-of-turn token at its end
    finish_reason: str  # "stop" or "length"


class VllmEngine:
    """An engine that generates completions and receives weights through vLLM's weight-transfer API.

    A push calls `start_weight_update`, `update_weights` (blocks until the learner has sent everything) and
    `finish_weight_update`, in this order. The caller makes sure that nothing is generated in between.
    """

    def __init__(self, options: EngineOptions) -> None:
        # vLLM reads these at import or start: keep the engine core in this process, and report no usage.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM
        from vllm.config import WeightTransferConfig

        arguments: dict[str, Any] = {
            "model": options.model,
            "dtype": options.rollout.dtype,
            "seed": options.seed,
            "max_model_len": options.max_model_len,
            "max_num_seqs": options.rollout.max_num_seqs,
            "limit_mm_per_prompt": {"video": options.max_videos, "image": 0},
            # Frames arrive at their final size and with known times: the processor must not change them.
            "mm_processor_kwargs": {"do_resize": False, "do_sample_frames": False},
            # Report logprobs of the distribution that generates: after temperature and forbidden tokens.
            "logprobs_mode": "processed_logprobs",
            "logits_processors": ["rollout.logits:ForbidVisionTokens"],
            "tensor_parallel_size": options.rollout.tensor_parallel_size,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
        }
        if options.weight_transfer is not None:
            arguments["weight_transfer_config"] = WeightTransferConfig(backend=options.weight_transfer)
        if options.device == "cpu":
            arguments |= {
                "enforce_eager": True,
                "distributed_executor_backend": "uni",
                # Prefill whole prompts. After a partial prefill vLLM discards a sampled token and rewinds the seeded
                # generator, which a CPU generator does not support ("does not use offset").
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(options.max_model_len, 8192),
                "kv_cache_memory_bytes": int(options.rollout.kv_cache_gib * 2**30),
            }
        else:
            arguments |= {
                "gpu_memory_utilization": options.rollout.gpu_memory_utilization,
                "enable_sleep_mode": options.shares_gpus,
            }
        started = time.monotonic()
        self._llm = LLM(**(arguments | options.rollout.vllm_args))
        logger.info("vLLM engine of %s is ready after %.1f s", options.model, time.monotonic() - started)

    def generate(
        self, inputs: Sequence[EngineInput], samplings: Sequence[Sampling]
    ) -> list[list[Completion]]:
        """Return the completions of every prompt, in the order of `inputs`. Raises as `stream` does."""
        groups = dict(group for groups in self.stream(inputs, samplings) for group in groups)
        return [groups[index] for index in range(len(inputs))]

    def stream(
        self, inputs: Sequence[EngineInput], samplings: Sequence[Sampling]
    ) -> Generator[list[tuple[int, list[Completion]]], None, None]:
        """Generate for every prompt; yield lists of (index of the prompt, its completions in a stable order).

        A prompt is yielded when all its completions are done, in one list with the prompts that finish at the same
        time. If the caller closes the generator, or an error occurs, unfinished prompts are dropped.

        Raises:
            RuntimeError: vLLM expanded a prompt to other token ids than the learner will see.
        """
        engine = self._llm.llm_engine
        requests = self._llm.enqueue(
            [vllm_prompt(entry) for entry in inputs],
            [vllm_params(each) for each in samplings],
            use_tqdm=False,
        )
        # vLLM numbers requests and adds a suffix to make the ids unique; its outputs carry the number alone.
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
        """Join the transfer group that the learner opens."""
        self._llm.init_weight_transfer_engine({"init_info": init_info})

    def start_weight_update(self) -> None:
        """Prepare to receive weights."""
        self._llm.start_weight_update()

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Receive weights; return when the learner has sent all of them."""
        self._llm.update_weights({"update_info": update_info})

    def finish_weight_update(self) -> None:
        """Activate the received weights and drop what the old weights computed.

        vLLM's caches are keyed by content, not by weights: it would reuse the key/value blocks of a prompt and the
        vision features of a video that it has seen before.

        Raises:
            RuntimeError: requests were running during the push.
        """
        self._llm.finish_weight_update()
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM could not drop its prefix cache, because requests ran during a push.")
        self._llm.llm_engine.reset_encoder_cache()
        self._llm.reset_mm_cache()
        logger.debug("the pushed weights are active")

    def sleep(self) -> None:
        """Free the GPU memory of weights and caches; the next push restores the weights."""
        self._llm.sleep(level=2)

    def wake_up(self) -> None:
        """Allocate the memory again that `sleep` freed."""
        self._llm.wake_up()


def vllm_prompt(entry: EngineInput) -> dict[str, Any]:
    """Return a prompt in the form that vLLM takes."""
    videos = [
        (video, video_metadata(times)) for video, times in zip(entry.videos, entry.times_s, strict=True)
    ]
    return {"prompt_token_ids": list(entry.token_ids), "multi_modal_data": {"video": videos}}


def vllm_params(sampling: Sampling) -> Any:
    """Return vLLM's SamplingParams for one prompt."""
    from vllm import SamplingParams

    return SamplingParams(
        n=sampling.num_completions,
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        logprobs=0,  # only the sampled token's logprob
        skip_special_tokens=False,  # the reward must see special tokens in the text
    )


def _check_prompt(entry: EngineInput, output: Any) -> None:
    """Raise RuntimeError if vLLM expanded a prompt to other token ids than ours."""
    if tuple(output.prompt_token_ids) != entry.expanded_token_ids:
        raise RuntimeError(
            f"vLLM expanded a prompt to {len(output.prompt_token_ids)} tokens that differ from the learner's "
            f"{len(entry.expanded_token_ids)} tokens: this version of vLLM builds video prompts differently. Install "
            "the version that pyproject.toml names."
        )


def _completion(choice: Any) -> Completion:
    logprobs = [
        position[token].logprob for token, position in zip(choice.token_ids, choice.logprobs, strict=True)
    ]
    return Completion(tuple(choice.token_ids), tuple(logprobs), choice.text, choice.finish_reason)
