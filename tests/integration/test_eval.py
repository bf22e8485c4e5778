"""A bench built of drawn videos and answered by a model, through the real command with a Ray of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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

from evaluation.bench import load_questions
from evaluation.viubench import COLUMNS, answer_score
from learner.modeling.tiny import create_tiny_model
from pretext.scenes import draw_videos
from pretext.stream import render

ROOT = Path(__file__).parents[2]
SAMPLES = 4
SAID = "1-4"


def always_says(folder: Path, words: str, corpus: list[str]) -> Path:
    """A tiny Qwen3-VL that answers everything with `words`.

    Its layers add nothing to the last token's embedding, and its head names the token that comes next in `words`.
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
def environment() -> Iterator[dict[str, str]]:
    """Of a command with a Ray of its own, whose sockets need a short path."""
    ray = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
    variables = os.environ | {"RAY_TMPDIR": ray, "VIDEOSSR_RUNS": f"{ray}/runs"}
    variables.pop("RAY_ADDRESS", None)
    yield variables
    for process in processes_of(ray):
        process.kill()
    shutil.rmtree(ray, ignore_errors=True)


def processes_of(ray: str) -> list[psutil.Process]:
    """Those that were started with this RAY_TMPDIR."""
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
    """SIGKILL to the engine while it answers its first batch."""
    deadline = time.monotonic() + 240
    while True:
        assert running.poll() is None
        assert time.monotonic() < deadline
        for process in processes_of(ray):
            try:
                if "BenchEngine.answer" in " ".join(process.cmdline()):
                    process.send_signal(signal.SIGKILL)
                    return
            except psutil.Error:
                continue
        time.sleep(0.1)


def test_a_bench_is_answered_though_an_engine_dies_and_a_video_is_gone(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    clips = draw_videos(tmp_path / "videos", count=4, seed=1)
    bench, out = tmp_path / "bench", tmp_path / "out"
    build = ["bench", "build", "--videos", str(tmp_path / "videos"), "--out", str(bench)]
    build += ["--samples", str(SAMPLES), "--pixels", "4096"]
    subprocess.run(command(*build), cwd=ROOT, env=environment, check=True)
    asked = load_questions(bench)
    corpus = ["Answer directly.", "system user assistant"]
    for questions in asked:
        corpus += [part for part in render(questions.recipes[0]).content if isinstance(part, str)]
    model = always_says(tmp_path, SAID, 2 * corpus)
    clips[0].write_bytes(b"gone bad")
    lost = {recipe.id for questions in asked for recipe in questions.recipes if recipe.video == str(clips[0])}
    assert len(lost) == 9  # one in each column

    log = tmp_path / "log"
    with log.open("w") as file:
        running = subprocess.Popen(
            command(
                "eval", "--model", str(model), "--bench", str(bench), "--out", str(out), "--device", "cpu",
                "--kv-cache-gib", "0.5", "--max-prompt-tokens", "1024", "--max-tokens", "8",
            ), cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    kill_the_engine_at_work(running, environment["RAY_TMPDIR"])
    assert running.wait(300) == 0, log.read_text()[-3000:]
    printed = log.read_text()
    # A worker notices that its Ray has ended, and follows.
    assert psutil.wait_procs(processes_of(environment["RAY_TMPDIR"]), timeout=30)[1] == []

    found = json.loads((out / "results.json").read_text())
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    expected = [
        (questions.name, recipe.id)
        for questions in asked
        for recipe in questions.recipes
        if recipe.id not in lost
    ]
    assert [(answer["column"], answer["id"]) for answer in answers] == expected  # each once, in order
    assert [entry["path"] for entry in found["unreadable"]] == [str(clips[0])]
    assert str(clips[0]) in printed
    for column in COLUMNS:
        mine = [answer for answer in answers if answer["column"] == column.name]
        assert {answer["completion"] for answer in mine} == {SAID}
        assert [answer["score"] for answer in mine] == [
            answer_score(column.task, SAID, answer["answer"]) for answer in mine
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
