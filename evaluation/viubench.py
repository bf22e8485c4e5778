"""VIUBench (arXiv 2511.06281): its nine columns, its metric, its averages, and the scores of guessing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from math import factorial
from statistics import fmean

from dataset.stats.baselines import span_s
from pretext.recipe import Recipe
from pretext.tasks.counting import CountingParams
from pretext.tasks.grounding import GroundingParams, Perturbation
from pretext.tasks.jigsaw import JigsawParams
from pretext.tasks.task import TaskParams
from reward import RULES, is_valid
from reward.rules import interval_iou


@dataclass(frozen=True)
class PaperColumn:
    """A column of the paper's table: a task at one setting."""

    name: str  # name of its folder in a benchmark
    label: str  # the setting as the table shows it
    task: str
    params: TaskParams
    published: float  # score of VideoSSR-8B in the paper, percent


def _counting(label: str, most: int, published: float) -> PaperColumn:
    params = CountingParams(frames_per_kind=(1, most), shapes_per_frame=(1, most))
    return PaperColumn(f"counting_{label}", label, "counting", params, published)


def _grounding(label: str, perturbation: Perturbation, published: float) -> PaperColumn:
    params = GroundingParams(perturbations=(perturbation,))
    return PaperColumn(f"grounding_{label.replace(' ', '_')}", label, "grounding", params, published)


def _jigsaw(label: str, num_clips: int, published: float) -> PaperColumn:
    return PaperColumn(f"jigsaw_{label}", label, "jigsaw", JigsawParams(num_clips=num_clips), published)


# In the paper's order.
COLUMNS = (
    _counting("easy", 3, 29.0),
    _counting("hard", 4, 24.6),
    _grounding("channel swap", "channel_swap", 88.7),
    _grounding("rotate", "rotate_180", 89.0),
    _grounding("zoom out", "zoom_out", 94.4),
    _grounding("mirror", "mirror", 67.8),
    _grounding("shuffle", "shuffle", 41.0),
    _jigsaw("easy", 6, 24.3),
    _jigsaw("hard", 8, 8.0),
)


def viubench_score(task: str, completion: str, truth: str) -> float:
    """Return the paper's metric for one completion, in [0, 1]; 0 for a completion that is not valid.

    Counting: the share of the kinds of shapes that are counted exactly. Grounding: the IoU. Jigsaw: 1 for the exact
    order, else 0. (The rewards of training also pay for completions that are nearly right.) For a task that is not in
    VIUBench, the metric is its reward.

    >>> viubench_score("counting", "3,1,4", "3,2,4"), viubench_score("jigsaw", "2134", "1234")
    (0.6666666666666666, 0.0)

    Raises:
        ValueError: as `reward.is_valid`.
    """
    if not is_valid(task, completion, truth):
        return 0.0
    parse, rule = RULES[task]
    predicted, expected = parse(completion), parse(truth)
    assert predicted is not None
    assert expected is not None
    match task:
        case "counting":
            return fmean(p == e for p, e in zip(predicted, expected, strict=True))
        case "grounding":
            return interval_iou(predicted, expected)
        case "jigsaw":
            return float(predicted == expected)
    return rule(predicted, expected)


@dataclass(frozen=True)
class TableAverages:
    """The averages of the paper's table, percent."""

    by_task: Mapping[str, float]
    overall: float  # mean of the nine columns, so a task's weight is its number of columns


def table_averages(percents: Mapping[str, float]) -> TableAverages:
    """Return the averages of the nine columns' percentages, which are given by column name."""
    by_task: dict[str, list[float]] = {}
    for column in COLUMNS:
        by_task.setdefault(column.task, []).append(percents[column.name])
    averages = {task: fmean(values) for task, values in by_task.items()}
    return TableAverages(averages, fmean(percents[column.name] for column in COLUMNS))


def percent_text(percent: float) -> str:
    """Render a percentage with one decimal, rounding halves up as the paper does.

    16.15, the mean of 24.3 and 8.0, gives "16.2". Python's own rounding would give 16.1, because the nearest binary
    fraction is slightly below 16.15.
    """
    return str(Decimal(f"{percent:.6f}").quantize(Decimal("0.1"), ROUND_HALF_UP))


def random_guess(task: str, recipes: Sequence[Recipe], params: TaskParams | None) -> float | None:
    """Return the score of guessing in percent, as in the paper's row "random"; None if it is not known.

    Counting: every total is guessed uniformly from 1 to the largest that `params` allow; None without params. Jigsaw: a
    random order. Grounding: the whole clip.
    """
    if task == "jigsaw":
        return 100 * fmean(1 / factorial(len(recipe.truth)) for recipe in recipes)
    if task == "grounding":
        return 100 * fmean(_whole_clip_iou(recipe) for recipe in recipes)
    if isinstance(params, CountingParams):
        return 100 / (params.frames_per_kind[1] * params.shapes_per_frame[1])
    return None


def _whole_clip_iou(recipe: Recipe) -> float:
    truth = RULES["grounding"][0](recipe.truth)
    assert truth is not None
    return interval_iou(span_s(_frame_times_s(recipe)), truth)


def _frame_times_s(recipe: Recipe) -> Sequence[float]:
    """Return the frame times of the clip as shown. Imported rendered frames have their own times next to the files."""
    clips = recipe.params.get("clips")
    return clips[0]["times_s"] if clips else recipe.frame_times_s
