"""The two kinds of workers of `videossr eval`: one builds prompts on a CPU, one generates with an engine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from actors.workers.prompt_worker import RecipePrompts
from pretext.recipe import Recipe
from pretext.video import VideoError
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unreadable:
    """A question that cannot be evaluated because its video cannot be read."""

    path: str
    reason: str


class BenchPrompts(RecipePrompts):
    """A builder of a bench's prompts. A prompt is the same on whichever worker builds it."""

    def build_all(self, recipes: Sequence[Recipe]) -> tuple[list[str | Unreadable], list[EngineInput | None]]:
        """Return the questions as a person reads them and the engine's inputs, as two Ray objects.

        The driver needs the first and the engine the second, so frames never pass through the driver.

        Raises:
            PromptError: see RecipePrompts.build.
        """
        questions: list[str | Unreadable] = []
        inputs: list[EngineInput | None] = []
        for recipe in recipes:
            try:
                question, engine_input, _ = self.build(recipe)
            except VideoError as error:
                logger.warning("skipped a question: %s", error)
                questions.append(Unreadable(error.path, error.reason))
                inputs.append(None)
            else:
                questions.append(question)
                inputs.append(engine_input)
        return questions, inputs


class BenchEngine:
    """A vLLM engine with the model's own weights. It is stateless, so a lost batch is repeated."""

    def __init__(self, options: EngineOptions) -> None:
        self._engine = VllmEngine(options)
        logger.info("bench engine is ready")

    def generate(
        self, inputs: Sequence[EngineInput | None], samplings: Sequence[Sampling]
    ) -> list[Completion | None]:
        """Return one completion for each input, and None for each input that is None."""
        readable = [number for number, entry in enumerate(inputs) if entry is not None]
        completions: list[Completion | None] = [None] * len(inputs)
        groups = self._engine.generate(
            [entry for entry in inputs if entry is not None], [samplings[number] for number in readable]
        )
        for number, (completion,) in zip(readable, groups, strict=True):
            completions[number] = completion
        return completions
