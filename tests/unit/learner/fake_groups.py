"""Training groups with made-up prompts, for tests that need no model."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from learner.commands import TrainingGroup


@dataclass(frozen=True, eq=False)
class FakePrompt:
    """A prompt after which positions jump to `next_position`, as they do after a video."""

    token_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    next_position: int
    patches: npt.NDArray[np.uint8]
    grid_thw: npt.NDArray[np.int64]


def prompt(length: int, *, patches: int, next_position: int, mark: int = 0) -> FakePrompt:
    positions = np.arange(3 * length).reshape(3, length)
    pixels = np.full((patches, 4), mark, np.uint8)
    return FakePrompt(
        np.arange(10, 10 + length), positions, next_position, pixels, np.array([[1, 1, patches]])
    )


@dataclass
class Fetch:
    """A function that fetches a prompt and counts its calls."""

    value: FakePrompt
    count: int = field(default=0)

    def __call__(self) -> FakePrompt:
        self.count += 1
        return self.value


def group(prompt_tokens: int, lengths: tuple[int, ...], *, mark: int = 0) -> TrainingGroup:
    """Return a group with completions of these lengths; a token is 100 * mark + 10 * completion + index."""
    completions = tuple(
        tuple(100 * mark + 10 * n + place for place in range(length)) for n, length in enumerate(lengths)
    )
    return TrainingGroup(
        group_id=f"g{mark}",
        task="grounding",
        fetch_prompt=Fetch(prompt(prompt_tokens, patches=2, next_position=5, mark=mark)),
        prompt_tokens=prompt_tokens,
        completions=completions,
        rollout_logprobs=tuple(tuple(-0.5 for _ in completion) for completion in completions),
        rewards=(0.0,) * len(lengths),
        truncated=(False,) * len(lengths),
        policy_version=0,
    )
