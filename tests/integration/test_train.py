"""Tests of whole runs with real engines and learners, and of the models that they export."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from cluster.checkpoints.export import export
from dataset.scan import scan
from dataset.store import videos_table, write_dataset
from pretext.recipe import Recipe
from pretext.scenes import draw_videos
from pretext.stream import make_recipe
from pretext.tasks.grounding import GroundingParams
from pretext.tasks.jigsaw import JigsawParams
from pretext.video.frames import FrameSpec
from rollout.engine import Sampling
from rollout.prompt import PromptBuilder
from tests.contract.engine_process import EngineProcess, engine_options
from tests.integration.runs import started
from vocabulary.metrics import metric


class _Clip:
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    times_s = np.array([0.0, 0.5])


REAL = Path(__file__).parents[3] / "shared" / "videos" / "real"
pytestmark = pytest.mark.long  # test_recovery also trains


def test_two_zero_3_ranks_and_two_engines_train_three_tasks_and_export_a_model(tmp_path: Path) -> None:
    arguments = (
        "learner.num_workers=2", "learner.zero_stage=3", "rollout.num_workers=2", "train.steps=3",
        "data.mix={grounding: 1, jigsaw: 1, counting: 1}",
        "data.counting={frames_per_kind: [1, 2], min_distance: 3}", "train.prompts_per_step=6", "grpo.kl_coef=0.01",
        "evaluation.samples_per_task=4",
    )  # fmt: skip
    with started(tmp_path, "two", *arguments) as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
        metrics = run.records("metrics")
        assert [record["step"] for record in metrics] == [0, 1, 2]
        for record in metrics:
            assert {
                "reward/grounding",
                "reward/jigsaw",
                "reward/counting",
                "policy/kl",
                "seconds/push",
            } <= set(record)
            assert record["policy/logprob_gap_max"] < 1e-4
            assert all(
                metric(name) for name in record.keys() - {"time"}
            )  # raises KeyError for an unknown name
        evaluations = {(record["stage"], record["task"]) for record in run.records("evaluations")}
        assert evaluations == {
            (s, t) for s in ("before", "after") for t in ("grounding", "jigsaw", "counting")
        }
        for name in ("report.json", "report.png", "config.yaml", "tensorboard"):
            assert (run.folder / name).exists()
        rollouts = run.records("rollouts")
        assert all(record["policy_version"] == record["step"] for record in rollouts)
        held_out = {record["step"] for record in rollouts if record["group_id"].startswith("held-out")}
        trained = {record["step"] for record in rollouts if not record["group_id"].startswith("held-out")}
        assert (trained, held_out) == ({0, 1, 2}, {0, 3})

        out = export(str(run.folder), tmp_path / "exported")
        model = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
        start = AutoModelForImageTextToText.from_pretrained(run.folder / "model", dtype=torch.float32)
        assert {name for name, _ in model.named_parameters()} == {
            name for name, _ in start.named_parameters()
        }
        builder = PromptBuilder(AutoProcessor.from_pretrained(out), model.config, max_prompt_tokens=512)
        inputs, _ = builder.build(system="", content=("When?", 0), clips=[_Clip()])
        engine = EngineProcess(engine_options(str(out)))
        try:
            assert len(engine.generate([inputs], Sampling(2, 1.0, 4, 0))[0]) == 2
        finally:
            engine.close()


def test_adapters_trained_with_stale_rollouts_are_exported_from_the_best_checkpoint(tmp_path: Path) -> None:
    arguments = (
        "learner.lora={rank: 4}", "learner.learning_rate=1e-2", "learner.max_logprob_gap=null",
        "grpo.kl_coef=0.01", "grpo.importance=token", "grpo.entropy_coef=1.0", "grpo.max_refills=1",
        "train.max_staleness=1", "train.steps=5", "evaluation.samples_per_task=4", "evaluation.every=2",
    )  # fmt: skip
    with started(tmp_path, "ahead", *arguments) as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
        metrics = run.records("metrics")
        assert [record["staleness/mean"] for record in metrics] == [0, 1, 1, 1, 1]
        assert any(record["groups/drawn"] > 4 for record in metrics)
        assert metrics[0]["policy/kl"] == pytest.approx(0, abs=1e-6)  # new adapters change nothing
        assert metrics[-1]["policy/kl"] > 1e-5
        stages = [(record["stage"], record["step"]) for record in run.records("evaluations")]
        assert stages[::2] == [("before", 0), ("during", 2), ("during", 4), ("after", 5)]

        merged, adapter = (export(str(run.folder), tmp_path / name, best=True, adapter=name == "adapter")
                           for name in ("merged", "adapter"))  # fmt: skip
        load = AutoModelForImageTextToText.from_pretrained
        whole = dict(load(merged, dtype=torch.float32).named_parameters())
        start = load(run.folder / "model", dtype=torch.float32)
        before = {name: value.detach().clone() for name, value in start.named_parameters()}
        peft = PeftModel.from_pretrained(start, adapter).merge_and_unload()
        for name, value in peft.named_parameters():
            torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)
        moved = {name for name, value in whole.items() if not torch.equal(value, before[name])}
        assert moved
        assert all("language_model.layers" in name for name in moved)


@pytest.mark.skipif(
    not REAL.exists(), reason="the real clips are next to the checkout only where it is developed"
)
def test_a_folder_of_real_videos_is_trained_on(tmp_path: Path) -> None:
    with started(tmp_path, "real", f"data.videos={REAL}", "train.steps=2") as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
        assert len(run.records("metrics")) == 2


def test_a_stored_dataset_is_trained_on_in_its_own_order(tmp_path: Path) -> None:
    draw_videos(tmp_path / "videos", count=6, seed=0)
    frames = FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096)
    found = scan(tmp_path / "videos", frames)
    params = {
        "grounding": GroundingParams(segment=(2, 4), describe=False),
        "jigsaw": JigsawParams(num_clips=4),
    }
    recipes = [
        make_recipe(i, videos=found.usable, mix={"grounding": 1, "jigsaw": 1}, params_by_task=params, seed=0)
        for i in range(40)
    ]
    write_dataset(tmp_path / "dataset", recipes, videos=videos_table(found.usable))
    with started(
        tmp_path, "stored", f"data.dataset={tmp_path / 'dataset'}", "data.held_out_share=0", "train.steps=2",
        "train.recorded_groups=4",
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log.read_text()[-3000:]
        trained = [Recipe.from_json(json.dumps(record["recipe"])) for record in run.records("rollouts")]
    # Two steps of four prompts use the first eight samples, each once.
    assert {recipe.id for recipe in trained} == {recipe.id for recipe in recipes[:8]}
