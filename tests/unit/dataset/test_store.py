"""`dataset.store`: datasets are read back as written, and incomplete ones are refused."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset.store import BuildSettings, Dataset, DatasetError, videos_table, write_dataset
from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.video.frame_stats import FrameStats
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped

SETTINGS = BuildSettings(
    videos=("videos",),
    mix={"grounding": 1.0, "jigsaw": 1.0, "counting": 1.0},
    count=30,
    frames=FrameSpec(num_frames=48, min_pixels=4096, max_pixels=4096),
)


def sampled_videos(count: int) -> list[SampledVideo]:
    """Return videos of different frame rates, all with colour and motion."""
    frame_stats = FrameStats(40.0, 30.0, 30.0, (5.0,) * 47)
    return [
        SampledVideo(
            f"{i}.mp4", "pyav", 24.0, np.arange(48) * (i + 1), np.arange(48) / (i + 2), 64, 64, frame_stats
        )
        for i in range(count)
    ]


def recipes(count: int) -> list[Recipe]:
    return [
        make_recipe(
            i, videos=sampled_videos(3), mix=SETTINGS.mix, params_by_task=SETTINGS.params_by_task, seed=0
        )
        for i in range(count)
    ]


@pytest.fixture
def made(tmp_path: Path) -> Dataset:
    write_dataset(
        tmp_path / "made",
        recipes(30),
        videos=videos_table(sampled_videos(3)),
        skipped=[Skipped("b.mp4", "is empty"), Skipped("ä.mp4", "has no video stream")],
        settings=SETTINGS,
    )
    return Dataset(tmp_path / "made")


def test_recipes_are_read_back_equal_in_order_and_one_by_one(made: Dataset) -> None:
    assert list(made) == recipes(30)
    assert [made[number].id for number in (0, 7, 29)] == [recipes(30)[number].id for number in (0, 7, 29)]
    assert len(made) == 30
    assert made.tasks() == [recipe.task for recipe in recipes(30)]
    assert made.truths()["counting"] == [recipe.truth for recipe in recipes(30) if recipe.task == "counting"]


def test_usable_and_skipped_videos_are_read_back(made: Dataset) -> None:
    for found, given in zip(made.videos(), sampled_videos(3), strict=True):
        assert (found.path, found.reader, found.duration_s) == (given.path, given.reader, given.duration_s)
        assert found.indices.tolist() == given.indices.tolist()
        assert found.times_s.tolist() == given.times_s.tolist()
        assert found.frame_stats == given.frame_stats
        assert isinstance(found.frame_stats, FrameStats)
    assert made.skipped() == [Skipped("b.mp4", "is empty"), Skipped("ä.mp4", "has no video stream")]
    assert made.card.settings == SETTINGS
    assert (made.card.num_samples, made.card.num_videos, made.card.num_skipped) == (30, 3, 2)


def test_the_same_recipes_give_the_same_bytes(made: Dataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", iter(recipes(30)), settings=SETTINGS)
    first, second = made.folder / "recipes.parquet", tmp_path / "again" / "recipes.parquet"
    assert first.read_bytes() == second.read_bytes()
    assert not list(made.folder.glob("*.partial"))


def test_a_sample_is_found_by_number_and_by_id(made: Dataset) -> None:
    assert made.find("4") == made[4]
    assert made.find(made[4].id) == made[4]
    for name in ("30", "-1", "nonsense", ""):
        with pytest.raises(DatasetError, match="Give an id, or a number from 0 to 29"):
            made.find(name)


def test_one_of_each_kind_is_the_first_of_each_task_and_anomaly(made: Dataset) -> None:
    kinds = [(recipe.task, recipe.params.get("perturbation")) for recipe in made.one_of_each_kind()]
    assert len(set(kinds)) == len(kinds) == 2 + len(SETTINGS.grounding.perturbations)


def test_a_folder_without_a_complete_dataset_is_refused(made: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Make one with `videossr data build`"):
        Dataset(tmp_path)
    (tmp_path / "half" / "work").mkdir(parents=True)
    with pytest.raises(DatasetError, match="Its build was not finished: run it again"):
        Dataset(tmp_path / "half")
    (made.folder / "recipes.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"recipes\.parquet: cannot be read"):
        list(Dataset(made.folder))
    (made.folder / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"dataset\.json: cannot be read"):
        Dataset(made.folder)


def test_an_interrupted_write_leaves_no_dataset(tmp_path: Path) -> None:
    def broken() -> object:
        yield from recipes(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "broken", broken())  # type: ignore[arg-type]
    with pytest.raises(DatasetError):
        Dataset(tmp_path / "broken")
    assert not (tmp_path / "broken" / "recipes.parquet").exists()


def test_settings_survive_json_and_columns_keep_their_names(made: Dataset) -> None:
    assert BuildSettings.model_validate_json(SETTINGS.model_dump_json()) == SETTINGS
    assert pq.read_schema(made.folder / "recipes.parquet").names[:3] == ["id", "task", "answer"]


def test_a_dataset_in_the_first_stored_form_still_loads() -> None:
    """The folder first_form holds files from when the code, too, called the truth "answer"."""
    dataset = Dataset(Path(__file__).parent / "first_form")
    lines = (dataset.folder / "recipes.jsonl").read_text().splitlines()
    assert list(dataset) == [Recipe.from_json(line) for line in lines]
    assert [recipe.to_json() for recipe in dataset] == lines  # So the ids are unchanged as well.
    assert [dataset.find(recipe.id) for recipe in dataset] == list(dataset)
    assert dataset.truths() == {
        "grounding": ["0.7-2.4", "0.4-1.4", "0.4-1.7", "0.4-2.1"],
        "jigsaw": ["213", "213", "213", "231"],
        "counting": ["3,1,1", "8,2,3"],
    }
    assert [video.path for video in dataset.videos()] == ["/videos/00000.mp4", "/videos/00001.mp4"]
    assert dataset.skipped() == [Skipped("/videos/cut.mp4", "is cut off after 3 frames")]
    assert (dataset.card.num_samples, dataset.card.num_videos, dataset.card.num_skipped) == (10, 2, 1)
    assert dataset.card.settings is not None
    assert dataset.card.settings.frames.num_frames == 12
    again = dataset.card.model_dump_json(indent=2, by_alias=True)
    assert again == (dataset.folder / "dataset.json").read_text().rstrip()
