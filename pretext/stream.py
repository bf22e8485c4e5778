"""An endless stream of recipes. Its number determines a recipe, so any worker can make any recipe."""

import logging
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from pretext.images import render_images
from pretext.randomness import generator, permutation
from pretext.recipe import IMAGES, Recipe, Sample
from pretext.tasks import TASKS
from pretext.tasks.task import Material, Task, TaskParams, Unsuitable
from pretext.video.cache import FrameCache, source_frames
from pretext.video.frames import SampledVideo

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 50  # number of unsuitable videos in a row after which make_recipe fails


def make_recipe(
    index: int,
    *,
    videos: Sequence[SampledVideo],
    mix: Mapping[str, float],
    params_by_task: Mapping[str, TaskParams],
    seed: int,
    task: str | None = None,
) -> Recipe:
    """Return recipe number `index` (from 0) of the stream with this seed.

    Every epoch uses each video once, in a new random order. A video from which no sample can be made is replaced by
    another one.

    Args:
        mix: weight of each task, which decides the task of each number; see `task_at`.
        params_by_task: parameters of each task; tasks that are missing use their defaults.
        task: the task; None to let `mix` decide.

    Raises ValueError for an empty `videos`, a bad `mix`, or if no video is suitable.
    """
    if not videos:
        raise ValueError("there are no videos to make recipes from. Give at least one.")
    name, turn = task_at(index, mix) if task is None else (task, index)
    chosen = _known(name)
    params = params_by_task.get(name) or chosen.Params()
    unsuitable: list[str] = []
    for attempt in range(_MAX_ATTEMPTS):
        # Later attempts use random numbers far beyond those of any run, so that they follow no pattern.
        place = index if attempt == 0 else int(generator(seed, "attempt", index, attempt).integers(2**40))
        video, other = _pair(place, videos, seed)
        words = (seed, "recipe", index) if attempt == 0 else (seed, "recipe", index, attempt)
        try:
            return chosen.make(Material(video, other, turn), params, int(generator(*words).integers(2**53)))
        except Unsuitable as error:
            logger.debug("No sample %d of %s: %s; trying another video", index, name, error)
            unsuitable.append(str(error))
    raise ValueError(
        f"no sample of {name} can be made from {_MAX_ATTEMPTS} videos in a row; the last: {unsuitable[-1]}"
    )


def _pair(place: int, videos: Sequence[SampledVideo], seed: int) -> tuple[SampledVideo, SampledVideo | None]:
    """Return the video at this place of the stream, and another video, or None if there is only one."""
    epoch, within = divmod(place, len(videos))
    order = permutation(len(videos), seed, "videos", epoch)
    if len(videos) == 1:
        return videos[0], None
    return videos[int(order[within])], videos[int(order[(within + 1) % len(videos)])]


def render(recipe: Recipe, cache: FrameCache | None = None) -> Sample:
    """Return the sample of a recipe, with frames from the video or the cache. Raises VideoError."""
    task = _known(recipe.task)
    if recipe.reader == IMAGES:
        return render_images(recipe)
    cache = cache or FrameCache(0)
    borrows = task.borrows(recipe)
    # Borrowed frames are scaled to this sample's size, so they are hardly ever needed again and not kept.
    borrowed = None if borrows is None else cache.frames(borrows, keep=False)
    return task.render(recipe, cache.frames(source_frames(recipe)), borrowed)


def task_at(index: int, mix: Mapping[str, float]) -> tuple[str, int]:
    """Return the task of recipe number `index`, and the number of recipes of that task before it.

    Tasks are spread evenly in the proportions of `mix`. The n-th sample of a task with share s is due at (n + 1/2) / s,
    and samples come in the order in which they are due. So with {"grounding": 2, "jigsaw": 1}, every three in a row
    hold exactly two and one.

    Raises ValueError for an unknown task, a negative weight, or weights that are all 0.
    """
    for name, weight in mix.items():
        _known(name)
        if not 0 <= weight < float("inf"):
            raise ValueError(f"mix.{name}={weight}: a weight must be a number from 0 on.")
    total = sum(mix.values())
    if total <= 0:
        raise ValueError(f"mix={dict(mix)}: at least one weight must be above 0.")
    due: list[tuple[float, str, int]] = []
    num_passed = 0  # number of samples that are due before all entries of `due`
    for name, share in ((name, weight / total) for name, weight in mix.items() if weight > 0):
        first = max(0, floor((index - len(mix)) * share) - 1)
        last = ceil((index + len(mix) + 1) * share) + 1
        num_passed += first
        due += [((n + 0.5) / share, name, n) for n in range(first, last)]
    due.sort(key=lambda entry: entry[0])
    _, name, turn = due[index - num_passed]
    return name, turn


def _known(name: str) -> Task[Any]:
    if name not in TASKS:
        raise ValueError(f"task {name!r}: not known. Use one of {', '.join(TASKS)}.")
    return TASKS[name]
