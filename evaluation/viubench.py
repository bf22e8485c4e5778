"""VIUBench (arXiv 2511.06281): its nine columns, how it scores an answer, and the table of them all."""

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
class Column:
    """One column of the paper's table: a task at one setting."""

    name: str  # its folder in a bench
    label: str  # for people, beside the task
    task: str
    params: TaskParams
    published: float  # what VideoSSR-8B earns in the paper, percent


def _counting(label: str, most: int, published: float) -> Column:
    params = CountingParams(frames_per_kind=(1, most), shapes_per_frame=(1, most))
    return Column(f"counting_{label}", label, "counting", params, published)


def _grounding(label: str, perturbation: Perturbation, published: float) -> Column:
    params = GroundingParams(perturbations=(perturbation,))
    return Column(f"grounding_{label.replace(' ', '_')}", label, "grounding", params, published)


def _jigsaw(label: str, num_clips: int, published: float) -> Column:
    return Column(f"jigsaw_{label}", label, "jigsaw", JigsawParams(num_clips=num_clips), published)


# In the paper's order, which is the one its averages of each task follow from.
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


def answer_score(task: str, completion: str, answer: str) -> float:
    """The paper's metric of one answer, in [0, 1]; 0 for one that is not of the task's form.

    Counting: the share of the kinds of shapes that are counted exactly. Grounding: the IoU. Jigsaw: 1 for the
    exact order, else 0. (The rewards of training are kinder: they pay for what is nearly right.) A task that is
    none of VIUBench's has its reward for a metric.

    >>> answer_score("counting", "3,1,4", "3,2,4"), answer_score("jigsaw", "2134", "1234")
    (0.6666666666666666, 0.0)

    Raises ValueError as `reward.is_valid` does.
    """
    if not is_valid(task, completion, answer):
        return 0.0
    parse = RULES[task][0]
    predicted, truth = parse(completion), parse(answer)
    assert predicted is not None
    assert truth is not None
    match task:
        case "counting":
            return fmean(p == t for p, t in zip(predicted, truth, strict=True))
        case "grounding":
            return interval_iou(predicted, truth)
        case "jigsaw":
            return float(predicted == truth)
    return RULES[task][1](predicted, truth)


@dataclass(frozen=True)
class Summary:
    """The averages of the paper's table, percent."""

    by_task: Mapping[str, float]
    overall: float  # of the nine columns, so a task counts by its number of columns


def summary(percents: Mapping[str, float]) -> Summary:
    """From the percentage of each of the nine columns, by name."""
    by_task: dict[str, list[float]] = {}
    for column in COLUMNS:
        by_task.setdefault(column.task, []).append(percents[column.name])
    averages = {task: fmean(values) for task, values in by_task.items()}
    return Summary(averages, fmean(percents[column.name] for column in COLUMNS))


def percent_text(percent: float) -> str:
    """One decimal, halves upwards as the paper's are: 16.15 (24.3 and 8.0 averaged) is "16.2".

    Python's own rounding would give 16.1, as the nearest binary fraction lies a hair below.
    """
    return str(Decimal(f"{percent:.6f}").quantize(Decimal("0.1"), ROUND_HALF_UP))


def random_guess(task: str, recipes: Sequence[Recipe], params: TaskParams | None) -> float | None:
    """What guessing earns, percent, as the paper's row of random answers has it.

    Counting: each total guessed evenly from 1 to the most that `params` allow; None without params. Jigsaw: any
    order. Grounding: the whole clip.
    """
    if task == "jigsaw":
        return 100 * fmean(1 / factorial(len(recipe.answer)) for recipe in recipes)
    if task == "grounding":
        return 100 * fmean(_whole_clip_iou(recipe) for recipe in recipes)
    if isinstance(params, CountingParams):
        return 100 / (params.frames_per_kind[1] * params.shapes_per_frame[1])
    return None


def _whole_clip_iou(recipe: Recipe) -> float:
    truth = RULES["grounding"][0](recipe.answer)
    assert truth is not None
    return interval_iou(span_s(_frame_times_s(recipe)), truth)


def _frame_times_s(recipe: Recipe) -> Sequence[float]:
    """Of the clip as it is shown; what others have rendered keeps its own clock with its files."""
    clips = recipe.params.get("clips")
    return clips[0]["times_s"] if clips else recipe.frame_times_s
