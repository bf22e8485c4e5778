"""An endless stream of recipes, each made from its number alone, so any worker can make any of them."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from pretext.cache import FrameCache
from pretext.frames import FrameSpec, fit_size, frame_indices
from pretext.randomness import generator
from pretext.recipe import Recipe, Sample
from pretext.task import Task, TaskParams
from pretext.tasks import TASKS
from pretext.video import VideoInfo


def make_recipe(
    index: int,
    *,
    videos: Sequence[VideoInfo],
    mix: Mapping[str, float],
    params_by_task: Mapping[str, TaskParams],
    spec: FrameSpec,
    seed: int,
    task: str | None = None,
) -> Recipe:
    """Recipe number `index` (from 0) of the stream that `seed` names.

    The task is `task` if given, and else follows `mix` (see `task_at`). A task without entry in
    `params_by_task` takes its defaults. The videos are gone through in a new random order each time, so none
    comes a second time before all have come. Raises ValueError for an empty `videos` or a bad `mix`.
    """
    if not videos:
        raise ValueError("there are no videos to make recipes from.")
    name = task_at(index, mix) if task is None else task
    chosen = _known(name)
    epoch, place = divmod(index, len(videos))
    info = videos[int(generator(seed, "videos", epoch).permutation(len(videos))[place])]
    return chosen.make(
        info,
        frame_indices(info, spec),
        fit_size(info.height_px, info.width_px, spec),
        params_by_task.get(name) or chosen.Params(),
        int(generator(seed, "recipe", index).integers(2**53)),
    )


def render(recipe: Recipe, cache: FrameCache | None = None) -> Sample:
    """The question and the clips of a recipe, its frames read from the video or the cache. Raises VideoError."""
    frames = (cache or FrameCache(0)).frames(recipe)
    return _known(recipe.task).render(recipe, frames)


def task_at(index: int, mix: Mapping[str, float]) -> str:
    """The task of recipe number `index`: as evenly spread as can be, in the proportions of `mix`.

    With shares s, the n-th sample of a task is due at (n + 1/2) / s, and the samples come as they are due. So
    with {"grounding": 2, "jigsaw": 1} every three in a row hold exactly two and one.

    Raises ValueError for an unknown task, a negative weight, or weights that are all 0.
    """
    for name, weight in mix.items():
        _known(name)
        if not 0 <= weight < float("inf"):
            raise ValueError(f"mix.{name}={weight}: a weight is a number from 0 on.")
    total = sum(mix.values())
    if total <= 0:
        raise ValueError(f"mix={dict(mix)}: at least one weight must be above 0.")
    due: list[tuple[float, str]] = []
    num_passed = 0  # those certainly due before any in the list
    for name, share in ((name, weight / total) for name, weight in mix.items() if weight > 0):
        first = max(0, floor((index - len(mix)) * share) - 1)
        last = ceil((index + len(mix) + 1) * share) + 1
        num_passed += first
        due += [((n + 0.5) / share, name) for n in range(first, last)]
    due.sort(key=lambda entry: entry[0])
    return due[index - num_passed][1]


def _known(name: str) -> Task[Any]:
    if name not in TASKS:
        raise ValueError(f"task {name!r}: not known. Use one of {', '.join(TASKS)}.")
    return TASKS[name]
