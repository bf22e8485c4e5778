"""Tests of evaluation.viubench: columns, metrics and averages agree with the paper."""

from itertools import permutations
from statistics import fmean

import pytest

from evaluation.viubench import COLUMNS, percent_text, random_guess, table_averages, viubench_score
from pretext.randomness import generator
from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.tasks import TASKS
from pretext.tasks.counting import CountingParams
from reward import score
from tests.unit.pretext.made import sampled

BY_NAME = {column.name: column for column in COLUMNS}
# The paper's row "random", percent. Its five grounding columns lie between 25.0 and 25.5.
RANDOM = {"counting_easy": "11.1", "counting_hard": "6.3", "jigsaw_easy": "0.1", "jigsaw_hard": "0.0"}


def drawn(name: str, count: int) -> list[Recipe]:
    """Draw recipes of a column from a video of 48 frames at intervals of half a second."""
    column = BY_NAME[name]
    video = sampled(48, (256, 256))
    return [
        make_recipe(
            index,
            videos=[video],
            mix={column.task: 1.0},
            params_by_task={column.task: column.params},
            seed=5,
            task=column.task,
        )
        for index in range(count)
    ]


def test_the_published_row_gives_the_published_averages() -> None:
    row = [29.0, 24.6, 88.7, 89.0, 94.4, 67.8, 41.0, 24.3, 8.0]
    assert [column.published for column in COLUMNS] == row
    found = table_averages({column.name: percent for column, percent in zip(COLUMNS, row, strict=True)})
    averages = {task: percent_text(percent) for task, percent in found.by_task.items()}
    assert averages == {"counting": "26.8", "grounding": "76.2", "jigsaw": "16.2"}
    assert percent_text(found.overall) == "51.9"


def test_only_one_order_of_the_tasks_fits_the_published_averages() -> None:
    row = [column.published for column in COLUMNS]
    fitting = []
    for order in permutations([("counting", 2), ("grounding", 5), ("jigsaw", 2)]):
        start, averages = 0, {}
        for task, width in order:
            averages[task] = percent_text(fmean(row[start : start + width]))
            start += width
        if averages == {"counting": "26.8", "grounding": "76.2", "jigsaw": "16.2"}:
            fitting.append([task for task, _ in order])
    assert fitting == [["counting", "grounding", "jigsaw"]]
    assert list(dict.fromkeys(column.task for column in COLUMNS)) == fitting[0]


def test_halves_are_rounded_upwards() -> None:
    assert (percent_text(16.15), percent_text(6.25), percent_text(0.05)) == ("16.2", "6.3", "0.1")
    assert (percent_text(100.0), percent_text(16.1499), percent_text(0.0)) == ("100.0", "16.1", "0.0")


def test_every_column_can_be_drawn_from_48_frames() -> None:
    for column in COLUMNS:
        TASKS[column.task].check(column.params, 48)
    assert len({column.name for column in COLUMNS}) == 9


@pytest.mark.parametrize(
    ("task", "completion", "truth", "expected"),
    [
        ("counting", "3,2,4", "3,2,4", 1.0),
        ("counting", " 3,1,4\n", "3,2,4", 2 / 3),  # the reward gives (1 + 1/2 + 1) / 3
        ("counting", "4,3,2", "3,2,4", 0.0),
        ("counting", "I see 3,2,4", "3,2,4", 0.0),
        ("grounding", "2.0-6.0", "4.0-8.0", 1 / 3),
        ("grounding", "4-8", "4.0-8.0", 1.0),
        ("grounding", "8-4", "4.0-8.0", 0.0),
        ("jigsaw", "214365", "214365", 1.0),
        ("jigsaw", "124365", "214365", 0.0),  # the reward gives 1 - 2/18
        ("jigsaw", "2143", "214365", 0.0),
        ("jigsaw", "", "214365", 0.0),
    ],
)
def test_the_metrics_agree_with_values_by_hand(
    task: str, completion: str, truth: str, expected: float
) -> None:
    assert viubench_score(task, completion, truth) == pytest.approx(expected)
    assert viubench_score(task, completion, truth) <= score(task, completion, truth)


def test_an_invalid_truth_raises_an_error() -> None:
    with pytest.raises(ValueError, match="cannot be the truth"):
        viubench_score("jigsaw", "123456", "122456")
    with pytest.raises(ValueError, match="no rule"):
        viubench_score("captions", "x", "y")


@pytest.mark.parametrize("name", ["counting_easy", "counting_hard"])
def test_a_uniform_guess_at_counting_earns_what_the_paper_says(name: str) -> None:
    recipes = drawn(name, 100)
    params = BY_NAME[name].params
    assert isinstance(params, CountingParams)
    most = params.frames_per_kind[1] * params.shapes_per_frame[1]
    totals = {int(total) for recipe in recipes for total in recipe.truth.split(",")}
    assert min(totals) == 1
    assert max(totals) <= most  # the guesses cover every total
    assert max(totals) > 9 * (most == 16)
    earned = [
        viubench_score("counting", f"{guess},{guess},{guess}", recipe.truth)
        for recipe in recipes
        for guess in range(1, most + 1)
    ]
    assert percent_text(100 * fmean(earned)) == RANDOM[name]
    assert random_guess("counting", recipes, params) == pytest.approx(100 * fmean(earned))


@pytest.mark.parametrize("name", ["jigsaw_easy", "jigsaw_hard"])
def test_a_uniform_guess_at_the_jigsaw_earns_what_the_paper_says(name: str) -> None:
    (recipe,) = drawn(name, 1)
    orders = ["".join(order) for order in permutations(sorted(recipe.truth))]
    earned = 100 * sum(viubench_score("jigsaw", order, recipe.truth) for order in orders) / len(orders)
    assert earned == pytest.approx(100 / {"jigsaw_easy": 720, "jigsaw_hard": 40320}[name])
    assert percent_text(earned) == RANDOM[name]
    assert random_guess("jigsaw", drawn(name, 3), None) == pytest.approx(earned)


def test_naming_the_whole_clip_earns_a_quarter_in_grounding_as_the_paper_says() -> None:
    earned = []
    for column in COLUMNS:
        if column.task == "grounding":
            recipes = drawn(column.name, 2000)
            by_hand = 100 * fmean(viubench_score("grounding", "0-24", recipe.truth) for recipe in recipes)
            assert random_guess("grounding", recipes, column.params) == pytest.approx(by_hand)
            # Segments of 8 to 16 of 48 frames: 25 % on average, with a standard error of 0.12.
            assert by_hand == pytest.approx(25.0, abs=0.4)
            earned.append(by_hand)
    assert len(earned) == 5
    assert 24.9 <= fmean(earned) <= 25.5


def test_guessing_counts_needs_the_largest_count() -> None:
    assert random_guess("counting", drawn("counting_easy", 1), None) is None


def test_imported_frames_keep_their_own_times() -> None:
    times_s = [second / 2 for second in range(48)]
    recipe = Recipe(
        task="grounding",
        video="folder",
        reader="images",
        frame_indices=(),
        frame_times_s=(),
        height_px=64,
        width_px=64,
        params={"clips": [{"files": [], "times_s": times_s}]},
        seed=int(generator("x").integers(9)),
        truth="6.0-12.0",
    )
    assert random_guess("grounding", [recipe], None) == pytest.approx(25.0)
