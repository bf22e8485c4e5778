"""An endless stream of recipes, each made from its number alone, so any worker can make any of them."""

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

_ATTEMPTS = 50  # videos in a row of which no sample can be made, before the videos are what is wrong


def make_recipe(
    index: int,
    *,
    videos: Sequence[SampledVideo],
    mix: Mapping[str, float],
    params_by_task: Mapping[str, TaskParams],
    seed: int,
    task: str | None = None,
) -> Recipe:
    """Recipe number `index` (from 0) of the stream that `seed` names.

    The task is `task` if given, and else follows `mix` (see `task_at`). A task without entry in
    `params_by_task` takes its defaults. The videos are gone through in a new random order each time, so none
    comes a second time before all have come; one that does not lend itself to its sample is passed over for
    another. Raises ValueError for an empty `videos` or a bad `mix`.
    """
    if not videos:
        raise ValueError("there are no videos to make recipes from.")
    name, turn = task_at(index, mix) if task is None else (task, index)
    chosen = _known(name)
    params = params_by_task.get(name) or chosen.Params()
    unsuitable: list[str] = []
    for attempt in range(_ATTEMPTS):
        # Second attempts take numbers far beyond those of any run, so that they follow no pattern.
        place = index if attempt == 0 else int(generator(seed, "attempt", index, attempt).integers(2**40))
        video, other = _pair(place, videos, seed)
        words = (seed, "recipe", index) if attempt == 0 else (seed, "recipe", index, attempt)
        try:
            return chosen.make(Material(video, other, turn), params, int(generator(*words).integers(2**53)))
        except Unsuitable as error:
            unsuitable.append(str(error))
    raise ValueError(
        f"no sample of {name} can be made of {_ATTEMPTS} videos in a row; the last: {unsuitable[-1]}"
    )


def _pair(place: int, videos: Sequence[SampledVideo], seed: int) -> tuple[SampledVideo, SampledVideo | None]:
    """The video at that place of the stream, and another."""
    epoch, within = divmod(place, len(videos))
    order = permutation(len(videos), seed, "videos", epoch)
    if len(videos) == 1:
        return videos[0], None
    return videos[int(order[within])], videos[int(order[(within + 1) % len(videos)])]


def render(recipe: Recipe, cache: FrameCache | None = None) -> Sample:
    """The question and the clips of a recipe, its frames read from the video or the cache. Raises VideoError."""
    task = _known(recipe.task)
    if recipe.reader == IMAGES:
        return render_images(recipe)
    cache = cache or FrameCache(0)
    borrows = task.borrows(recipe)
    # Borrowed frames are another sample's in another shape: they will hardly be asked for again.
    borrowed = None if borrows is None else cache.frames(borrows, keep=False)
    return task.render(recipe, cache.frames(source_frames(recipe)), borrowed)


def task_at(index: int, mix: Mapping[str, float]) -> tuple[str, int]:
    """The task of recipe number `index`, and how many of that task came before it.

    As evenly spread as can be, in the proportions of `mix`: with shares s, the n-th sample of a task is due at
    (n + 1/2) / s, and the samples come as they are due. So with {"grounding": 2, "jigsaw": 1} every three in a
    row hold exactly two and one.

    Raises ValueError for an unknown task, a negative weight, or weights that are all 0.
    """
    for name, weight in mix.items():
        _known(name)
        if not 0 <= weight < float("inf"):
            raise ValueError(f"mix.{name}={weight}: a weight is a number from 0 on.")
    total = sum(mix.values())
    if total <= 0:
        raise ValueError(f"mix={dict(mix)}: at least one weight must be above 0.")
    due: list[tuple[float, str, int]] = []
    num_passed = 0  # those certainly due before any in the list
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
