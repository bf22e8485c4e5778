"""Tests of `videossr data`: options, output and refusals."""

from pathlib import Path

import pytest

from cluster.cli.data import settings_of
from cluster.cli.main import main
from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.training.prepare import check_data
from dataset.scan import scan
from dataset.store import Dataset, videos_table, write_dataset
from pretext.scenes import draw_videos
from pretext.stream import make_recipe
from pretext.tasks.counting import CountingParams
from pretext.tasks.grounding import GroundingParams
from pretext.video.frames import FrameSpec

SMALL = FrameSpec(num_frames=24, min_pixels=4096, max_pixels=4096)
PARAMS = {"grounding": GroundingParams(segment=(4, 8)), "counting": CountingParams(min_distance=4)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset of 36 samples from four drawn videos, and return its folder."""
    folder = tmp_path_factory.mktemp("made")
    draw_videos(folder / "videos", count=4, seed=0)
    found = scan(folder / "videos", SMALL)
    mix = {"grounding": 1.0, "jigsaw": 1.0, "counting": 1.0}
    recipes = [make_recipe(i, videos=found.usable, mix=mix, params_by_task=PARAMS, seed=0) for i in range(36)]
    write_dataset(folder / "dataset", recipes, videos=videos_table(found.usable))
    return folder / "dataset"


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_the_papers_mix_has_30000_samples() -> None:
    settings = settings_of(["videos"], "paper", None, 7, [])
    assert (settings.count, settings.seed, settings.videos) == (30_000, 7, (str(Path("videos").absolute()),))
    assert settings.mix == {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2}
    assert settings.grounding.perturbations == ("channel_swap", "mirror", "zoom_out", "rotate_180")
    assert settings.jigsaw.num_clips == 6


def test_weights_and_settings_of_the_tasks_can_be_given() -> None:
    settings = settings_of(
        ["s3://bucket/videos"], "grounding=0.25, jigsaw=1", None, 0, ["jigsaw.gap=2", "frames.clock=paper"]
    )
    assert settings.mix == {"grounding": 0.25, "jigsaw": 1.0}
    assert (settings.count, settings.jigsaw.gap, settings.frames.clock) == (None, 2, "paper")
    assert settings.videos == ("s3://bucket/videos",)


@pytest.mark.parametrize(
    ("mix", "overrides", "words"),
    [
        ("grounding", [], "--mix=grounding: weights have the form task=number"),
        ("grounding=x", [], "--mix=grounding=x: weights have the form task=number"),
        ("grounding=-1", [], "--mix.grounding=-1.0: input should be greater than or equal to 0"),
        ("paper", ["jigsaw.gab=2"], "jigsaw.gab=2: there is no such setting. Did you mean jigsaw.gap?"),
        ("paper", ["jigsaw.gap=3"], "jigsaw.gap=3: input should be a multiple of 2"),
        (
            "paper",
            ["grounding.segment=[9,8]"],
            "grounding.segment=[9, 8]: [9, 8]: the first number must not exceed",
        ),
        ("paper", ["seed=-1"], "'seed=-1': there is no such setting. Override settings of frames, grounding"),
        ("paper", ["videos=3"], "'videos=3': there is no such setting."),
    ],
)
def test_invalid_settings_are_refused(mix: str, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(["videos"], mix, None, 0, overrides)
    assert str(caught.value).startswith(words)


def test_refusals_name_options_as_they_are_typed() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(["videos"], "paper", 0, -1, [])
    assert str(caught.value).splitlines() == [
        "--count=0: input should be greater than or equal to 1. Change --count.",
        "--seed=-1: input should be greater than or equal to 0. Change --seed.",
    ]


@pytest.mark.parametrize(
    ("mix", "overrides", "words"),
    [
        ("counted=1", [], "task 'counted': not known. Use one of grounding, jigsaw, counting."),
        ("jigsaw=0", [], "at least one weight must be above 0"),
        ("paper", ["jigsaw.num_clips=7"], "num_clips=7: 48 frames cannot be cut"),
        ("paper", ["jigsaw.gap=8"], "gap=8: clips of 8 frames would lose all of them"),
        ("paper", [], "nowhere: there is no such folder. Name one that holds videos."),
    ],
)
def test_settings_that_make_no_sample_are_refused_before_ray_starts(
    mix: str, overrides: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    out = tmp_path / "out"
    command = ["data", "build", "--videos", str(tmp_path / "nowhere"), "--out", str(out), "--mix", mix]
    assert words in refused([*command, *overrides], capsys)
    assert not ray.is_initialized()
    assert not out.exists()


@pytest.mark.parametrize("verb", [["show"], ["stats"]])
def test_a_folder_without_dataset_is_refused(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["data", *verb, str(tmp_path)], capsys)
    assert said.startswith(
        f"{tmp_path}: holds no dataset (no dataset.json). Make one with `videossr data build`."
    )


def test_show_draws_one_sample_of_each_kind_or_a_named_one(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", str(made), "--out", str(tmp_path)]) == 0
    kinds = {(recipe.task, recipe.params.get("perturbation")) for recipe in Dataset(made)}
    assert len(list(tmp_path.glob("*.png"))) == len(kinds)
    capsys.readouterr()
    for name in ("3", Dataset(made)[3].id):
        assert main(["data", "show", str(made), name, "--out", str(tmp_path / name)]) == 0
        assert f"truth {Dataset(made)[3].truth}" in capsys.readouterr().out
        assert [path.stem for path in (tmp_path / name).iterdir()] == [Dataset(made)[3].id]


def test_an_unknown_sample_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Give an id, or a number from 0 to 35." in refused(["data", "show", str(made), "36"], capsys)


def test_an_exported_dataset_can_be_imported(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported, imported = tmp_path / "verl", tmp_path / "imported"
    assert main(["data", "export", str(made), "--format", "verl", "--out", str(exported)]) == 0
    assert main(["data", "import", str(exported), "--out", str(imported)]) == 0
    assert "36 samples (12 counting, 12 grounding, 12 jigsaw)" in capsys.readouterr().out
    assert Dataset(imported).truths()["jigsaw"] == Dataset(made).truths()["jigsaw"]
    assert main(["data", "show", str(imported), "0", "--out", str(tmp_path / "sheets")]) == 0


def test_a_run_on_a_dataset_takes_its_mix_and_never_splits_a_video(made: Path) -> None:
    config = build_config({"data": {"dataset": str(made), "held_out_share": 0.5}})
    assert config.data.mix == {"counting": 12.0, "grounding": 12.0, "jigsaw": 12.0}
    data = check_data(config)
    assert data is not None
    assert (data.num_train, data.num_held_out, data.max_clips) == (2, 2, 6)
    train = {data.source.recipe("train", i).video for i in range(30)}
    held_out = {data.source.recipe("held_out", i).video for i in range(30)}
    assert (len(train), len(held_out)) == (2, 2)
    assert not train & held_out
    assert {data.source.recipe("held_out", i, "jigsaw").task for i in range(5)} == {"jigsaw"}


def test_a_split_that_would_lack_a_task_is_refused(made: Path, tmp_path: Path) -> None:
    few = list(Dataset(made))[:4]
    write_dataset(tmp_path / "few", few)
    with pytest.raises(ConfigError, match=r"data.held_out_share=0.25: leaves the (train|held_out) videos"):
        check_data(build_config({"data": {"dataset": str(tmp_path / "few"), "held_out_share": 0.25}}))


def test_a_run_on_a_folder_without_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"data": {"dataset": str(tmp_path)}})
    assert str(caught.value).startswith(f"data.dataset='{tmp_path}': {tmp_path}: holds no dataset")


def test_every_data_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("build", "show", "stats", "import", "export"):
        with pytest.raises(SystemExit) as caught:
            main(["data", verb, "--help"])
        assert caught.value.code == 0
        assert f"videossr data {verb}" in capsys.readouterr().out
