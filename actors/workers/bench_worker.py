"""The two kinds of workers that answer a bench: CPU processes that build prompts, and engines."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.workers.prompt_worker import RecipePrompts
from pretext.recipe import Recipe
from pretext.video import VideoError
from rollout.engine import Completion, EngineOptions, Sampling, VllmEngine
from rollout.prompt import EngineInput


@dataclass(frozen=True)
class Unreadable:
    """A question that cannot be asked, as its video cannot be read after all."""

    path: str
    reason: str


class BenchPrompts(RecipePrompts):
    """Builds prompts; whoever builds one, it is the same."""

    def build_all(self, recipes: Sequence[Recipe]) -> tuple[list[str | Unreadable], list[EngineInput | None]]:
        """The questions as a person reads them, and what the engine is given; as two Ray objects.

        The driver needs the first, the engine the second, so frames never pass through the driver. Raises
        PromptError as RecipePrompts does.
        """
        questions: list[str | Unreadable] = []
        inputs: list[EngineInput | None] = []
        for recipe in recipes:
            try:
                question, engine_input, _ = self.build(recipe)
            except VideoError as error:
                questions.append(Unreadable(error.path, error.reason))
                inputs.append(None)
            else:
                questions.append(question)
                inputs.append(engine_input)
        return questions, inputs


class BenchEngine:
    """A vLLM engine with the model's own weights. It keeps nothing, so a lost batch is simply answered again."""

    def __init__(self, options: EngineOptions) -> None:
        self._engine = VllmEngine(options)

    def answer(
        self, inputs: Sequence[EngineInput | None], samplings: Sequence[Sampling]
    ) -> list[Completion | None]:
        """One completion for each input; None for None."""
        asked = [number for number, entry in enumerate(inputs) if entry is not None]
        answers: list[Completion | None] = [None] * len(inputs)
        groups = self._engine.generate(
            [entry for entry in inputs if entry is not None], [samplings[number] for number in asked]
        )
        for number, (completion,) in zip(asked, groups, strict=True):
            answers[number] = completion
        return answers
