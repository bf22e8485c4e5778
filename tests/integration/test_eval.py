"""Test of `videossr bench build` on drawn videos and of `videossr eval`, each with its own Ray cluster."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from evaluation.bench import load_columns
from evaluation.viubench import COLUMNS, viubench_score
from learner.modeling.tiny import create_tiny_model
from pretext.scenes import draw_videos
from pretext.stream import render
from tests.integration.runs import HANG_S, ROOT

SAMPLES = 4
SAID = "1-4"


def always_says(folder: Path, words: str, corpus: list[str]) -> Path:
    """Create a tiny Qwen3-VL that generates `words` for every prompt, and return its folder.

    Its layers add nothing to the last token's embedding, and its head maps each token of `words` to the next one.
    """
    create_tiny_model(folder / "start", corpus=corpus)
    processor = AutoProcessor.from_pretrained(folder / "start")
    model: Any = AutoModelForImageTextToText.from_pretrained(folder / "start", dtype=torch.float32)
    tokenizer = processor.tokenizer
    said = [*tokenizer.encode("\n"), *tokenizer.encode(words), tokenizer.eos_token_id]  # "\n" ends the prompt
    assert len(set(said)) == len(said)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = model.get_input_embeddings().weight
        head = torch.zeros_like(embeddings)
        for token, following in pairwise(said):
            head[following] = 10 * embeddings[token] / embeddings[token].norm()
        model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture
def environment(ray_environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield an environment for a command with its own Ray cluster, and kill the cluster's processes at the end."""
    ray = ray_environment["RAY_TMPDIR"]
    yield ray_environment | {"VIDEOSSR_RUNS": f"{ray}/runs"}
    for process in processes_of(ray):
        process.kill()


def processes_of(ray: str) -> list[psutil.Process]:
    """Return the processes that were started with this RAY_TMPDIR."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_TMPDIR") == ray:
                found.append(process)
        except psutil.Error:
            continue
    return found


def command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("videossr")), *words]


def kill_the_engine_at_work(running: subprocess.Popen[bytes], ray: str) -> None:
    """Kill the engine's process while it generates completions for its first prompts."""
    deadline = time.monotonic() + HANG_S
    while True:
        assert running.poll() is None
        assert time.monotonic() < deadline
        for process in processes_of(ray):
            try:
                if "BenchEngine.generate" in " ".join(process.cmdline()):
                    process.send_signal(signal.SIGKILL)
                    return
            except psutil.Error:
                continue
        time.sleep(0.1)


def test_a_model_is_evaluated_although_an_engine_dies_and_a_video_is_damaged(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    clips = draw_videos(tmp_path / "videos", count=4, seed=1)
    bench, out = tmp_path / "bench", tmp_path / "out"
    build = ["bench", "build", "--videos", str(tmp_path / "videos"), "--out", str(bench)]
    build += ["--samples", str(SAMPLES), "--pixels", "4096"]
    subprocess.run(command(*build), cwd=ROOT, env=environment, check=True)
    asked = load_columns(bench)
    corpus = ["Answer directly.", "system user assistant"]
    for questions in asked:
        corpus += [part for part in render(questions.recipes[0]).content if isinstance(part, str)]
    model = always_says(tmp_path, SAID, 2 * corpus)
    clips[0].write_bytes(b"gone bad")
    lost = {recipe.id for questions in asked for recipe in questions.recipes if recipe.video == str(clips[0])}
    assert len(lost) == 9  # one question in each column

    log = tmp_path / "log"
    with log.open("w") as file:
        running = subprocess.Popen(
            command(
                "eval", "--model", str(model), "--bench", str(bench), "--out", str(out), "--device", "cpu",
                "--kv-cache-gib", "0.5", "--max-prompt-tokens", "1024", "--max-tokens", "8",
            ), cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    kill_the_engine_at_work(running, environment["RAY_TMPDIR"])
    assert running.wait(HANG_S) == 0, log.read_text()[-3000:]
    printed = log.read_text()
    # Workers notice that their Ray cluster has ended, and exit.
    assert psutil.wait_procs(processes_of(environment["RAY_TMPDIR"]), timeout=HANG_S)[1] == []

    found = json.loads((out / "results.json").read_text())
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    expected = [
        (questions.name, recipe.id)
        for questions in asked
        for recipe in questions.recipes
        if recipe.id not in lost
    ]
    assert [(answer["column"], answer["id"]) for answer in answers] == expected  # each is there once
    assert [entry["path"] for entry in found["unreadable"]] == [str(clips[0])]
    assert str(clips[0]) in printed
    for column in COLUMNS:
        mine = [answer for answer in answers if answer["column"] == column.name]
        assert {answer["completion"] for answer in mine} == {SAID}
        assert [answer["score"] for answer in mine] == [
            viubench_score(column.task, SAID, answer["answer"]) for answer in mine
        ]
        entry = found["columns"][column.name]
        assert (entry["n"], entry["unreadable"]) == (SAMPLES - 1, 1)
        assert entry["score"] == pytest.approx(100 * fmean(answer["score"] for answer in mine))
        assert entry["valid"] == (column.task == "grounding")
        assert (entry["score"] > 5) == (column.task == "grounding")
        assert f"{entry['score']:.1f}" in printed
    by_task = {
        task: fmean(found["columns"][column.name]["score"] for column in COLUMNS if column.task == task)
        for task in ("counting", "grounding", "jigsaw")
    }
    assert found["averages"] == pytest.approx(by_task)
    assert found["overall"] == pytest.approx(by_task["grounding"] * 5 / 9)
    assert (out / "results.png").stat().st_size > 10_000
    assert {path.name for path in out.iterdir()} == {"results.json", "results.png", "answers.jsonl"}
