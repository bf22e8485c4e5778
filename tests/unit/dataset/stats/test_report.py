"""`dataset.stats.report`: numbers of a small dataset worked out by hand, as text of 80 columns, and as plots."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dataset.stats.plot import draw_report
from dataset.stats.report import DatasetReport, make_report
from dataset.stats.text import print_report
from dataset.store import Dataset, write_dataset
from pretext.recipe import IMAGES, Recipe
from pretext.video.info import Skipped
from tests.unit.dataset.samples import scenes_dataset

SKIPPED = [
    Skipped("a/one.mp4", "has only 5 frames (of 1.5 s)"),
    Skipped("a/two.mp4", "is empty"),
    Skipped("b/three.mp4", "has only 12 frames (of 20 s)"),
    Skipped("a/[red]four.mp4", "[bold]odd[/bold]"),
]


def printed(stats: DatasetReport, width: int = 200) -> str:
    text = StringIO()
    print_report(stats, Console(file=text, width=width))
    return text.getvalue()


def recipe(task: str, answer: str, video: str = "v.mp4", **params: object) -> Recipe:
    times_s = tuple(np.arange(8) * 0.5)
    return Recipe(task, video, "pyav", tuple(range(8)), times_s, 32, 64, dict(params), 0, answer)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> DatasetReport:
    folder = tmp_path_factory.mktemp("stats") / "by hand"
    recipes = [
        recipe("grounding", "1.0-2.0", perturbation="mirror"),
        recipe("grounding", "1.0-3.0", "w.mp4", perturbation="mirror"),
        recipe("grounding", "0.0-2.0", perturbation="blur"),
        recipe("counting", "1,2,3"),
        recipe("counting", "1,4,3"),
        recipe("jigsaw", "213", shown=[1, 0, 2]),
    ]
    write_dataset(folder, recipes, skipped=SKIPPED)
    return make_report(Dataset(folder))


def test_samples_truths_and_anomalies_are_counted(by_hand: DatasetReport) -> None:
    assert by_hand.samples == {"grounding": 3, "counting": 2, "jigsaw": 1}
    assert by_hand.anomalies == {"mirror": 2, "blur": 1}
    assert by_hand.truths.counts == {"circle": {1: 2}, "square": {2: 1, 4: 1}, "triangle": {3: 2}}
    assert by_hand.truths.first_clips == {2: 1}
    assert by_hand.videos_used == 2
    assert by_hand.rendered_bytes_per_sample == 8 * 32 * 64 * 3


def test_intervals_are_shares_of_the_video(by_hand: DatasetReport) -> None:
    # The video shows 0 to 4 s: starts at 0, 1/4 and 1/4, lengths of 1/4, 1/2 and 1/2.
    starts, lengths = by_hand.truths.starts, by_hand.truths.lengths
    assert starts is not None
    assert lengths is not None
    assert {starts.edges[n]: count for n, count in enumerate(starts.counts) if count} == {0.0: 1, 0.25: 2}
    assert {lengths.edges[n]: count for n, count in enumerate(lengths.counts) if count} == {0.25: 1, 0.5: 2}
    assert by_hand.baselines["grounding"].whole_clip == pytest.approx((0.25 + 0.5 + 0.5) / 3)
    assert by_hand.baselines["counting"].whole_clip is None


def test_reasons_that_differ_only_in_numbers_are_counted_together(by_hand: DatasetReport) -> None:
    assert [(reason.words, reason.videos, reason.example) for reason in by_hand.skipped] == [
        ("has only N frames", 2, "a/one.mp4"),
        ("[bold]odd[/bold]", 1, "a/[red]four.mp4"),
        ("is empty", 1, "a/two.mp4"),
    ]


def test_the_text_has_all_parts_and_is_at_most_80_columns_wide(by_hand: DatasetReport) -> None:
    text = printed(by_hand)
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        "6 samples",
        "1,2,3",
        "mirror",
        "has only N frames",
        "[bold]odd[/bold]",
        "[red]four.mp4",
        "whole video",
    ):
        assert words in text


def test_the_report_on_a_built_dataset_has_durations_and_the_jigsaw_shortcut(tmp_path: Path) -> None:
    dataset = scenes_dataset(tmp_path, count=12)
    stats = make_report(dataset)
    assert (stats.videos, stats.videos_used) == (3, 3)
    assert stats.durations is not None
    assert stats.durations.shortest == pytest.approx(80 / 18, abs=0.01)
    assert sum(stats.durations.spread.counts) == 3
    assert stats.shortcut is not None
    assert stats.shortcut.samples == len({r.video for r in dataset if r.task == "jigsaw"})
    assert stats.shortcut.chance == pytest.approx(1 / 6)
    fewer = make_report(dataset, jigsaw_samples=1).shortcut
    assert fewer is not None
    assert fewer.samples == 1
    assert make_report(dataset, jigsaw_samples=0).shortcut is None
    assert stats.bytes_per_sample * 12 == (dataset.folder / "recipes.parquet").stat().st_size
    assert "3 usable, 3 of them used" in " ".join(printed(stats).split())


def test_the_plots_cover_every_part_that_is_not_empty(by_hand: DatasetReport, tmp_path: Path) -> None:
    draw_report(by_hand, tmp_path / "all.png")
    picture = np.asarray(Image.open(tmp_path / "all.png").convert("L"))
    assert picture.shape[1] == 1800
    assert 700 < picture.shape[0] < 1000  # two rows of plots
    assert (picture < 255).any(0).sum() > 1000


def test_an_imported_dataset_of_one_task_is_reported(tmp_path: Path) -> None:
    clip = {"files": ["x/0.jpg", "x/1.jpg"], "times_s": [0.0, 0.5], "height_px": 32, "width_px": 32}
    params = {"clips": [clip, clip], "content": ["Sort."]}
    write_dataset(tmp_path / "d", [Recipe("jigsaw", str(tmp_path), IMAGES, (), (), 0, 0, params, 0, "21")])
    stats = make_report(Dataset(tmp_path / "d"))
    assert stats.rendered_bytes_per_sample == 4 * 32 * 32 * 3
    assert (stats.videos_used, stats.durations) == (1, None)
    assert stats.shortcut is not None
    assert (stats.shortcut.samples, stats.shortcut.unreadable) == (0, 1)  # Its files do not exist.
    assert "1 jigsaw could not be rendered" in " ".join(printed(stats).split())
    assert "whole video" not in printed(stats)
    draw_report(stats, tmp_path / "one.png")


def test_a_dataset_without_samples_is_reported(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", [], skipped=SKIPPED)
    stats = make_report(Dataset(tmp_path / "d"))
    assert "0 samples" in printed(stats)
    draw_report(stats, tmp_path / "none.png")
