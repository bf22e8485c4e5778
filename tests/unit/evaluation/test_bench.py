"""Tests of evaluation.bench: a benchmark consists of nine datasets."""

import shutil
from pathlib import Path

import pytest

from dataset.store import Dataset, DatasetError
from evaluation.bench import BenchSettings, build_bench, check_bench, load_columns
from evaluation.viubench import COLUMNS
from pretext.video.frame_stats import FrameStats
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped
from tests.unit.pretext.made import sampled

SETTINGS = BenchSettings(videos=("clips",), samples_per_column=6, seed=3)
SKIPPED = [Skipped("bad.mp4", "is empty")]
MOVING = FrameStats(colour=20.0, mirrored=20.0, turned=20.0, motion=(20.0,) * 47)
GREY = FrameStats(colour=0.0, mirrored=20.0, turned=20.0, motion=(20.0,) * 47)


def videos(*stats: FrameStats) -> list[SampledVideo]:
    return [sampled(48, (256, 256), path=f"{n}.mp4", frame_stats=each) for n, each in enumerate(stats)]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    build_bench(videos(MOVING, MOVING, GREY), SKIPPED, tmp_path / "bench", settings=SETTINGS)
    return tmp_path / "bench"


def recipes_of(bench: Path) -> dict[str, list[str]]:
    return {column.name: [recipe.id for recipe in Dataset(bench / column.name)] for column in COLUMNS}


def test_every_column_is_a_dataset_with_its_settings(bench: Path) -> None:
    columns = load_columns(bench)
    assert [column.name for column in columns] == [column.name for column in COLUMNS]
    for loaded, column in zip(columns, COLUMNS, strict=True):
        found = Dataset(bench / column.name)
        assert list(found) == list(loaded.recipes)
        assert (found.card.num_samples, found.card.num_videos, found.card.num_skipped) == (6, 3, 1)
        assert found.skipped() == SKIPPED
        assert {recipe.task for recipe in found} == {column.task}
        assert found.card.settings is not None
        assert found.card.settings.params_by_task[column.task] == column.params
    perturbations = {
        column.label: {recipe.params["perturbation"] for recipe in column.recipes}
        for column in columns
        if column.task == "grounding"
    }
    assert perturbations == {
        "channel swap": {"channel_swap"},
        "rotate": {"rotate_180"},
        "zoom out": {"zoom_out"},
        "mirror": {"mirror"},
        "shuffle": {"shuffle"},
    }
    assert {len(recipe.truth) for recipe in columns[-2].recipes} == {6}
    assert {len(recipe.truth) for recipe in columns[-1].recipes} == {8}


def test_a_video_in_which_an_anomaly_is_invisible_is_skipped_in_that_column_only(bench: Path) -> None:
    used = {column.name: {recipe.video for recipe in Dataset(bench / column.name)} for column in COLUMNS}
    assert "2.mp4" not in used.pop("grounding_channel_swap")
    assert all("2.mp4" in paths for paths in used.values())


def test_the_seed_decides_the_questions(bench: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    build_bench(videos(MOVING, MOVING, GREY), SKIPPED, again, settings=SETTINGS)
    assert recipes_of(again) == recipes_of(bench)
    other = tmp_path / "other"
    settings = SETTINGS.model_copy(update={"seed": 4})
    build_bench(videos(MOVING, MOVING, GREY), SKIPPED, other, settings=settings)
    assert not {i for ids in recipes_of(other).values() for i in ids} & {
        i for ids in recipes_of(bench).values() for i in ids
    }


def test_columns_have_different_draws(bench: Path) -> None:
    segments = [
        tuple((recipe.params["first"], recipe.params["last"]) for recipe in column.recipes)
        for column in load_columns(bench)
        if column.task == "grounding"
    ]
    assert len(set(segments)) == 5


def test_an_interrupted_build_resumes_and_keeps_complete_columns(bench: Path) -> None:
    before = recipes_of(bench)
    (bench / "bench.json").unlink()
    shutil.rmtree(bench / "jigsaw_hard")
    (bench / "grounding_mirror" / "dataset.json").unlink()
    kept = (bench / "counting_easy" / "recipes.parquet").stat().st_mtime_ns
    with pytest.raises(DatasetError, match="not complete"):
        load_columns(bench)
    seen: list[tuple[int, int]] = []
    build_bench(
        videos(MOVING, MOVING, GREY), SKIPPED, bench, settings=SETTINGS,
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert recipes_of(bench) == before
    assert (bench / "counting_easy" / "recipes.parquet").stat().st_mtime_ns == kept
    assert seen == [(number, 9) for number in range(1, 10)]
    assert check_bench(SETTINGS, bench) is not None


def test_a_benchmark_with_other_settings_is_not_overwritten(bench: Path) -> None:
    other = SETTINGS.model_copy(update={"samples_per_column": 7})
    with pytest.raises(DatasetError, match=r"holds a benchmark with other settings.*Name a folder"):
        build_bench(videos(MOVING), (), bench, settings=other)
    (bench / "bench.json").unlink()
    with pytest.raises(DatasetError, match="counting_easy: was built with other settings"):
        build_bench(videos(MOVING, MOVING, GREY), (), bench, settings=other)
    with pytest.raises(DatasetError, match="counting_easy: was built from other videos"):
        build_bench(videos(MOVING), (), bench, settings=SETTINGS)
    with pytest.raises(DatasetError, match="holds a dataset"):
        build_bench(videos(MOVING), (), bench / "counting_easy", settings=SETTINGS)


def test_a_number_of_frames_that_does_not_fit_the_columns_is_refused(tmp_path: Path) -> None:
    settings = BenchSettings(videos=("clips",), frames=FrameSpec(num_frames=60))
    with pytest.raises(DatasetError, match=r"--frames=60: jigsaw hard: .* multiple of 16"):
        build_bench(videos(MOVING), (), tmp_path / "bench", settings=settings)
    assert not (tmp_path / "bench").exists()


def test_an_error_names_the_videos_that_do_not_fit_a_column(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"grounding channel swap: .*0\.mp4.*Use other videos"):
        build_bench(videos(GREY), (), tmp_path / "bench", settings=SETTINGS)


def test_a_limit_takes_the_first_questions_of_each_column(bench: Path) -> None:
    whole, few = load_columns(bench), load_columns(bench, 2)
    assert [column.recipes for column in few] == [column.recipes[:2] for column in whole]


def test_a_single_dataset_has_one_column_per_task(bench: Path) -> None:
    (columns,) = load_columns(bench / "jigsaw_easy", 4)
    assert (columns.name, columns.task, columns.label, columns.published) == ("jigsaw", "jigsaw", "", None)
    assert list(columns.recipes) == list(Dataset(bench / "jigsaw_easy"))[:4]
    assert columns.params == COLUMNS[-2].params


def test_a_folder_without_questions_is_refused(tmp_path: Path, bench: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither a benchmark nor a dataset.*videossr bench build"):
        load_columns(tmp_path)
    (bench / "bench.json").write_text('{"columns": 3}')
    with pytest.raises(DatasetError, match=r"bench\.json: cannot be read"):
        load_columns(bench)
