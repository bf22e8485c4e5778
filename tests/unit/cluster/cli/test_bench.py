"""Tests of `videossr bench` and `videossr eval`: options, refusals and the table."""

from pathlib import Path

import pytest

from cluster.cli.bench import add_commands, table_lines
from cluster.cli.options import CommandParser
from cluster.config.errors import ConfigError
from dataset.store import Dataset
from evaluation.bench import LoadedColumn
from evaluation.results import bench_results, score_completion
from evaluation.viubench import COLUMNS
from pretext.recipe import Recipe
from pretext.scenes import draw_videos

TRUTHS = {"counting": "1,2,3", "grounding": "6.0-12.0", "jigsaw": "214365"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two drawn videos and one file that is not a video."""
    folder = tmp_path_factory.mktemp("clips")
    draw_videos(folder, count=2, seed=1)
    (folder / "sub").mkdir()
    (folder / "sub" / "broken.mp4").write_bytes(b"no video")
    return folder


def run(*words: str) -> int:
    parser = CommandParser()
    add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args(words)
    return int(options.run(options))


def build(clips: Path, out: Path, *words: str) -> int:
    return run("bench", "build", "--videos", str(clips), "--out", str(out), "--pixels", "4096", *words)


def test_a_bench_is_built_from_folders_and_names_skipped_videos(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench"
    # The second folder is inside the first, but its videos count once.
    assert build(clips, out, "--samples", "3", "--videos", str(clips / "sub")) == 0
    printed = capsys.readouterr().out
    assert "broken.mp4: " in printed
    assert printed.endswith(f"Wrote {out}: nine columns of 3 questions.\nVideos: 2, and 1 skipped.\n")
    for column in COLUMNS:
        found = Dataset(out / column.name)
        assert (found.card.num_samples, found.card.num_videos, found.card.num_skipped) == (3, 2, 1)
        assert {(recipe.height_px, recipe.width_px) for recipe in found} == {(64, 64)}
        assert {len(recipe.frame_indices) for recipe in found} == {48}
    assert build(clips, out, "--samples", "3", "--videos", str(clips / "sub")) == 0
    assert capsys.readouterr().out == f"{out} is complete already.\n"
    with pytest.raises(ConfigError, match="holds a benchmark with other settings"):
        build(clips, out, "--samples", "4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--samples", "0"), r"^--samples=0: .*greater than or equal to 1\. Change --samples\.$"),
        (("--seed", "-1"), r"^--seed=-1: "),
        (("--pixels", "100"), r"^--pixels: max_pixels=100: no 32x32 block fits"),
        (("--frames", "7"), r"^--frames=7: .*multiple of 2"),
        (("--frames", "60"), r"^--frames=60: jigsaw hard: .*multiple of 16"),
    ],
)
def test_a_bad_option_is_named_with_its_value(
    clips: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(clips, tmp_path / "bench", *words)
    assert not (tmp_path / "bench").exists()


def test_folders_without_a_usable_video_are_refused_with_the_reasons(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no usable video \(1 skipped\)[^\n]*\n  broken\.mp4: "):
        build(clips / "sub", tmp_path / "bench")
    with pytest.raises(ConfigError, match=r"--videos=.*nowhere: there is no such folder"):
        build(clips / "nowhere", tmp_path / "bench")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--limit", "0"), r"^--limit=0: .*greater than or equal to 1\. Change --limit\.$"),
        (("--workers", "two"), r"^--workers=two: .*integer"),
        (("--dtype", "int4"), r"^--dtype=int4: .*'float32' or 'bfloat16'"),
        (("--max-tokens", "-1", "--device", "tpu"), r"(?s)^--device=tpu: .*\n--max-tokens=-1: "),
    ],
)
def test_a_bad_setting_of_an_evaluation_is_named_with_its_value(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run("eval", "--model", "m", "--bench", str(tmp_path), *words)


def test_an_impossible_evaluation_is_refused_before_anything_starts(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    with pytest.raises(ConfigError, match="neither a benchmark nor a dataset"):
        run("eval", "--model", "m", "--bench", str(out))
    build(clips, out, "--samples", "1")
    with pytest.raises(ConfigError, match=r"--model=m: no folder with a config\.json, no run"):
        run("eval", "--model", "m", "--bench", str(out))
    with pytest.raises(ConfigError, match=r"--model=\S+: no folder with a config\.json"):
        run("eval", "--model", str(tmp_path / "none"), "--bench", str(out))
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match=r"^--model=\S+/llama: is a llama model, which cannot watch video"):
        run("eval", "--model", str(tmp_path / "llama"), "--bench", str(out))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("name: x")
    with pytest.raises(ConfigError, match="has no checkpoint yet"):
        run("eval", "--model", str(tmp_path / "run"), "--bench", str(out), "--out", str(tmp_path / "answers"))
    (tmp_path / "answers" / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds results already"):
        run("eval", "--model", "a/b", "--bench", str(out), "--out", str(tmp_path / "answers"))


def questions(name: str, task: str, label: str, published: float | None) -> LoadedColumn:
    recipe = Recipe(task, "a.mp4", "pyav", (0, 1), (0.0, 12.0), 64, 64, {}, 0, TRUTHS[task])
    params = next((column.params for column in COLUMNS if column.name == name), None)
    return LoadedColumn(name, label, task, (recipe,), params, published)


def table(*asked: LoadedColumn) -> list[str]:
    answers = [
        score_completion(
            recipe_id="x", column=entry, question="?", truth=TRUTHS[entry.task], completion=TRUTHS[entry.task],
            cut_off=False,
        )
        for entry in asked
    ]  # fmt: skip
    return table_lines(bench_results(asked, answers))


def test_the_table_fits_a_terminal_and_holds_the_averages() -> None:
    lines = table(*[questions(entry.name, entry.task, entry.label, entry.published) for entry in COLUMNS])
    assert max(map(len, lines)) <= 80
    cells = [line.split() for line in lines]
    assert ["counting", "easy", "100.0", "11.1", "29.0", "100.0", "1"] in cells
    assert ["channel", "swap", "100.0", "25.0", "88.7", "100.0", "1"] in [row[-7:] for row in cells]
    assert [row[-1] for row in cells if row[:1] == ["average"]] == ["26.8", "76.2", "16.2"]
    assert ["overall", "100.0", "15.8", "51.9"] in cells


def test_the_table_of_a_single_dataset_has_no_averages() -> None:
    lines = table(questions("counting", "counting", "", None), questions("jigsaw", "jigsaw", "", None))
    cells = [line.split() for line in lines]
    assert ["counting", "100.0", "-", "100.0", "1"] in cells
    assert not any("average" in line or "overall" in line.lower() or "*" in line for line in lines)
