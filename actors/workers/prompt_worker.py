"""Makes prompts: recipe, frames, tokens. One CPU process; any number can share a stream."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.messages import PromptMeta
from actors.process_info import Place, here
from dataset.view.thumbnails import ClipPictures, pictures
from pretext.recipe import Recipe
from pretext.source import RecipeSource, Split
from pretext.stream import render
from pretext.video import VideoError
from pretext.video.cache import FrameCache
from rollout.prompt import EngineInput, ModelInput, PromptBuilder

_ATTEMPTS = 20  # unreadable videos in a row before the data, not a video, is what is wrong
_CACHE_BYTES = 2**29  # of decoded frames, per maker
_ATTEMPT_STRIDE = 2**40  # recipe numbers of second attempts lie far beyond those of any run


@dataclass(frozen=True)
class PromptSpec:
    """All that determines the prompts of a run."""

    model_path: str  # for processor and config
    source: RecipeSource
    system_prompt: str
    max_prompt_tokens: int


class RecipePrompts:
    """Recipes to prompts of one model; frames read once are kept.

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
        """The question as a person reads it ("[video]" where a clip stands), and both inputs.

        Raises VideoError where its frames cannot be read, and PromptError as PromptBuilder does.
        """
        sample = render(recipe, self._cache)
        engine, model = self._builder.build(
            system=self._system_prompt, content=sample.content, clips=sample.clips
        )
        question = "\n".join("[video]" if isinstance(part, int) else part for part in sample.content)
        return question, engine, model

    def pictures(self, recipe: Recipe) -> tuple[ClipPictures, ...]:
        """Its frames as a page shows them. Raises VideoError where they cannot be read."""
        return pictures(render(recipe, self._cache))


class PromptMaker:
    """Prompt number `index` of a split is the same whoever makes it, and whenever."""

    def __init__(self, spec: PromptSpec) -> None:
        self._spec = spec
        self._prompts = RecipePrompts(
            spec.model_path, system_prompt=spec.system_prompt, max_prompt_tokens=spec.max_prompt_tokens
        )

    def make(
        self, split: Split, index: int, task: str | None = None
    ) -> tuple[PromptMeta, EngineInput, ModelInput]:
        """Prompt `index`; of the given task, or of the one the mix gives it.

        A video that cannot be read after all is passed over for another, and named in the answer.

        Raises:
            PromptError: the prompt is too long (every prompt of this configuration would be).
            ValueError: twenty videos in a row could not be read.
        """
        rejected: list[str] = []
        for attempt in range(_ATTEMPTS):
            recipe = self._spec.source.recipe(split, index + attempt * _ATTEMPT_STRIDE, task)
            task = recipe.task
            try:
                question, engine, model = self._prompts.build(recipe)
            except VideoError as error:
                rejected.append(str(error))
                continue
            meta = PromptMeta(
                split, index, recipe.task, question, recipe.answer, recipe.to_json(),
                len(model.token_ids), tuple(rejected),
            )  # fmt: skip
            return meta, engine, model
        raise ValueError(f"{_ATTEMPTS} videos in a row could not be read, the last: {rejected[-1]}")

    def pictures(self, recipe: str) -> tuple[ClipPictures, ...]:
        """The frames of a recipe, which is JSON, as a page shows them."""
        return self._prompts.pictures(Recipe.from_json(recipe))

    def place(self) -> Place:
        return here()


class PromptMakerActor(PromptMaker):
    """PromptMaker as a Ray actor.

    Args:
        spec_file: a pickled PromptSpec in the run's folder. It names every video and can be large; from a file a
            restarted actor has it again, where Ray could have dropped it from the object store.
    """

    def __init__(self, spec_file: str) -> None:
        super().__init__(pickle.loads(Path(spec_file).read_bytes()))


def read_model_facts(model_path: str, max_prompt_tokens: int) -> dict[str, Any]:
    """What other parts must know of a model folder: forbidden ids, padding id, pixel statistics.

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
