"""`evaluation.bench`: nine datasets that make one bench."""

import shutil
from pathlib import Path

import pytest

from dataset.store import Dataset, DatasetError
from evaluation.bench import BenchSettings, build_bench, check_bench, load_questions
from evaluation.viubench import COLUMNS
from pretext.video.frame_stats import Traits
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Rejected
from tests.unit.pretext.made import sampled

SETTINGS = BenchSettings(videos=("clips",), samples_per_column=6, seed=3)
REJECTED = [Rejected("bad.mp4", "is empty")]
MOVING = Traits(colour=20.0, mirrored=20.0, turned=20.0, motion=(20.0,) * 47)
GREY = Traits(colour=0.0, mirrored=20.0, turned=20.0, motion=(20.0,) * 47)


def videos(*traits: Traits) -> list[SampledVideo]:
    return [sampled(48, (256, 256), path=f"{n}.mp4", traits=each) for n, each in enumerate(traits)]


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    build_bench(videos(MOVING, MOVING, GREY), REJECTED, tmp_path / "bench", settings=SETTINGS)
    return tmp_path / "bench"


def recipes_of(bench: Path) -> dict[str, list[str]]:
    return {column.name: [recipe.id for recipe in Dataset(bench / column.name)] for column in COLUMNS}


def test_every_column_is_a_dataset_at_its_setting(bench: Path) -> None:
    asked = load_questions(bench)
    assert [questions.name for questions in asked] == [column.name for column in COLUMNS]
    for questions, column in zip(asked, COLUMNS, strict=True):
        found = Dataset(bench / column.name)
        assert list(found) == list(questions.recipes)
        assert (found.card.num_samples, found.card.num_videos, found.card.num_rejected) == (6, 3, 1)
        assert found.rejected() == REJECTED
        assert {recipe.task for recipe in found} == {column.task}
        assert found.card.settings is not None
        assert found.card.settings.params_by_task[column.task] == column.params
    perturbations = {
        questions.label: {recipe.params["perturbation"] for recipe in questions.recipes}
        for questions in asked
        if questions.task == "grounding"
    }
    assert perturbations == {
        "channel swap": {"channel_swap"},
        "rotate": {"rotate_180"},
        "zoom out": {"zoom_out"},
        "mirror": {"mirror"},
        "shuffle": {"shuffle"},
    }
    assert {len(recipe.answer) for recipe in asked[-2].recipes} == {6}
    assert {len(recipe.answer) for recipe in asked[-1].recipes} == {8}


def test_a_video_in_which_an_anomaly_would_not_show_is_passed_over_in_that_column_alone(bench: Path) -> None:
    used = {column.name: {recipe.video for recipe in Dataset(bench / column.name)} for column in COLUMNS}
    assert "2.mp4" not in used.pop("grounding_channel_swap")
    assert all("2.mp4" in paths for paths in used.values())


def test_the_same_settings_give_the_same_questions_and_another_seed_others(
    bench: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    build_bench(videos(MOVING, MOVING, GREY), REJECTED, again, settings=SETTINGS)
    assert recipes_of(again) == recipes_of(bench)
    other = tmp_path / "other"
    settings = SETTINGS.model_copy(update={"seed": 4})
    build_bench(videos(MOVING, MOVING, GREY), REJECTED, other, settings=settings)
    assert not {i for ids in recipes_of(other).values() for i in ids} & {
        i for ids in recipes_of(bench).values() for i in ids
    }


def test_columns_do_not_share_their_draws(bench: Path) -> None:
    segments = [
        tuple((recipe.params["first"], recipe.params["last"]) for recipe in questions.recipes)
        for questions in load_questions(bench)
        if questions.task == "grounding"
    ]
    assert len(set(segments)) == 5


def test_a_build_that_was_stopped_goes_on_and_keeps_complete_columns(bench: Path) -> None:
    before = recipes_of(bench)
    (bench / "bench.json").unlink()
    shutil.rmtree(bench / "jigsaw_hard")
    (bench / "grounding_mirror" / "dataset.json").unlink()
    kept = (bench / "counting_easy" / "recipes.parquet").stat().st_mtime_ns
    with pytest.raises(DatasetError, match="not complete"):
        load_questions(bench)
    seen: list[tuple[int, int]] = []
    build_bench(
        videos(MOVING, MOVING, GREY), REJECTED, bench, settings=SETTINGS,
        report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert recipes_of(bench) == before
    assert (bench / "counting_easy" / "recipes.parquet").stat().st_mtime_ns == kept
    assert seen == [(number, 9) for number in range(1, 10)]
    assert check_bench(SETTINGS, bench) is not None


def test_another_bench_is_not_written_over(bench: Path) -> None:
    other = SETTINGS.model_copy(update={"samples_per_column": 7})
    with pytest.raises(DatasetError, match=r"holds another bench.*Name a folder"):
        build_bench(videos(MOVING), (), bench, settings=other)
    (bench / "bench.json").unlink()
    with pytest.raises(DatasetError, match="counting_easy: was made with other settings"):
        build_bench(videos(MOVING, MOVING, GREY), (), bench, settings=other)
    with pytest.raises(DatasetError, match="counting_easy: was made of other videos"):
        build_bench(videos(MOVING), (), bench, settings=SETTINGS)
    with pytest.raises(DatasetError, match="holds a dataset"):
        build_bench(videos(MOVING), (), bench / "counting_easy", settings=SETTINGS)


def test_frames_that_cannot_be_cut_into_the_clips_are_refused_before_any_work(tmp_path: Path) -> None:
    settings = BenchSettings(videos=("clips",), frames=FrameSpec(num_frames=60))
    with pytest.raises(DatasetError, match=r"--frames=60: jigsaw hard: .* multiple of 16"):
        build_bench(videos(MOVING), (), tmp_path / "bench", settings=settings)
    assert not (tmp_path / "bench").exists()


def test_videos_that_no_column_can_be_made_of_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"grounding channel swap: .*0\.mp4.*Use other videos"):
        build_bench(videos(GREY), (), tmp_path / "bench", settings=SETTINGS)


def test_a_limit_takes_the_first_of_each_column(bench: Path) -> None:
    whole, few = load_questions(bench), load_questions(bench, 2)
    assert [questions.recipes for questions in few] == [questions.recipes[:2] for questions in whole]


def test_a_single_dataset_is_asked_task_by_task(bench: Path) -> None:
    (asked,) = load_questions(bench / "jigsaw_easy", 4)
    assert (asked.name, asked.task, asked.label, asked.published) == ("jigsaw", "jigsaw", "", None)
    assert list(asked.recipes) == list(Dataset(bench / "jigsaw_easy"))[:4]
    assert asked.params == COLUMNS[-2].params


def test_a_folder_that_holds_nothing_to_ask_is_refused(tmp_path: Path, bench: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither a bench nor a dataset.*videossr bench build"):
        load_questions(tmp_path)
    (bench / "bench.json").write_text('{"columns": 3}')
    with pytest.raises(DatasetError, match=r"bench\.json: cannot be read"):
        load_questions(bench)
