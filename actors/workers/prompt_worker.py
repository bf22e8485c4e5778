"""Makes prompts: recipe to frames to tokens. One CPU process; any number of them can share a stream of recipes."""

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.messages import PromptMeta
from actors.process_info import ProcessInfo, current_process
from dataset.view.thumbnails import ClipThumbnails, thumbnails
from pretext.recipe import Recipe
from pretext.source import RecipeSource, Split
from pretext.stream import render
from pretext.video import VideoError
from pretext.video.cache import FrameCache
from rollout.prompt import EngineInput, ModelInput, PromptBuilder

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 20  # unreadable videos in a row; then the data is wrong, not a video
_CACHE_BYTES = 2**29  # size of each worker's cache of decoded frames
_ATTEMPT_STRIDE = 2**40  # recipe numbers of further attempts lie beyond those of any run


@dataclass(frozen=True)
class PromptSpec:
    """Everything that determines the prompts of a run."""

    model_path: str  # folder or hub id of the processor and the config
    source: RecipeSource
    system_prompt: str
    max_prompt_tokens: int


class RecipePrompts:
    """A builder of the prompts of recipes for one model, with a cache of decoded frames.

    Args:
        model_path: Hugging Face folder or hub id, for processor and config.
    """

    def __init__(self, model_path: str, *, system_prompt: str, max_prompt_tokens: int) -> None:
        from transformers import AutoConfig, AutoProcessor

        self._system_prompt = system_prompt
        self._cache = FrameCache(_CACHE_BYTES)
        self._builder = PromptBuilder(
            AutoProcessor.from_pretrained(model_path),
            AutoConfig.from_pretrained(model_path),
            max_prompt_tokens=max_prompt_tokens,
        )

    def build(self, recipe: Recipe) -> tuple[str, EngineInput, ModelInput]:
        """Return the question as a person reads it ("[video]" in place of each clip), and both inputs.

        Raises:
            VideoError: the frames cannot be read.
            PromptError: see PromptBuilder.build.
        """
        sample = render(recipe, self._cache)
        engine, model = self._builder.build(
            system=self._system_prompt, content=sample.content, clips=sample.clips
        )
        question = "\n".join("[video]" if isinstance(part, int) else part for part in sample.content)
        return question, engine, model

    def frames(self, recipe: Recipe) -> tuple[ClipThumbnails, ...]:
        """Return the frames as the page shows them. Raises VideoError if they cannot be read."""
        return thumbnails(render(recipe, self._cache))


class PromptWorker:
    """The maker of a run's prompts. Prompt number `index` of a split is the same in every worker and at any time."""

    def __init__(self, spec: PromptSpec) -> None:
        self._spec = spec
        self._prompts = RecipePrompts(
            spec.model_path, system_prompt=spec.system_prompt, max_prompt_tokens=spec.max_prompt_tokens
        )

    def make(
        self, split: Split, index: int, task: str | None = None
    ) -> tuple[PromptMeta, EngineInput, ModelInput]:
        """Return prompt `index`, of the given task or else of the task that the mix assigns to it.

        If the video cannot be read, another one is used, and `PromptMeta.skipped` names the first.

        Raises:
            PromptError: the prompt is too long, as every prompt of this configuration would be.
            ValueError: twenty videos in a row could not be read.
        """
        skipped: list[str] = []
        for attempt in range(_MAX_ATTEMPTS):
            recipe = self._spec.source.recipe(split, index + attempt * _ATTEMPT_STRIDE, task)
            task = recipe.task
            try:
                question, engine, model = self._prompts.build(recipe)
            except VideoError as error:
                logger.warning("skipped a video: %s", error)
                skipped.append(str(error))
                continue
            meta = PromptMeta(
                split=split,
                index=index,
                task=recipe.task,
                question=question,
                truth=recipe.truth,
                recipe=recipe,
                num_tokens=len(model.token_ids),
                skipped=tuple(skipped),
            )
            return meta, engine, model
        raise ValueError(f"{_MAX_ATTEMPTS} videos in a row could not be read, the last: {skipped[-1]}")

    def frames(self, recipe: Recipe) -> tuple[ClipThumbnails, ...]:
        """Return the frames of a recipe as the page shows them."""
        return self._prompts.frames(recipe)

    def process_info(self) -> ProcessInfo:
        """Describe the process."""
        return current_process()


class PromptWorkerActor(PromptWorker):
    """PromptWorker as a Ray actor.

    Args:
        spec_file: a pickled PromptSpec in the run's folder. It names every video and can be large. A restarted actor
            reads the file again; from Ray's object store it could be gone.
    """

    def __init__(self, spec_file: str) -> None:
        super().__init__(pickle.loads(Path(spec_file).read_bytes()))
        logger.info("prompt worker is ready")


def read_model_facts(model_path: str, max_prompt_tokens: int) -> dict[str, Any]:
    """Return what ModelSpec needs from a model folder: forbidden ids, padding id, pixel statistics.

    Raises ValueError as PromptBuilder does.
    """
    from transformers import AutoConfig, AutoProcessor

    from rollout.prompt import forbidden_token_ids

    processor = AutoProcessor.from_pretrained(model_path)
    config = AutoConfig.from_pretrained(model_path)
    builder = PromptBuilder(processor, config, max_prompt_tokens=max_prompt_tokens)
    tokenizer = processor.tokenizer
    return {
        "forbidden": forbidden_token_ids(tokenizer, config.get_text_config().vocab_size),
        "pad_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        "pixel_mean": builder.pixel_mean,
        "pixel_std": builder.pixel_std,
    }
