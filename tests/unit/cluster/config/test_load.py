"""Tests that load configurations: a refusal names the setting, its value, the rule and the fix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.config.errors import ConfigError
from cluster.config.load import build_config, load_config, validated
from cluster.config.schema import ClusterConfig, Config

CONFIGS = sorted((Path(__file__).parents[4] / "configs").glob("*.yaml"))

WriteConfig = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteConfig:
    """Return a function that writes a text to a configuration file and returns its path."""

    def to_file(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


# --- the configurations in configs/ -------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_in_configs_loads_and_is_named_like_its_file(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_the_8b_configs_have_the_papers_settings() -> None:
    for name in ("qwen3-vl-8b", "qwen3-vl-8b-shared"):
        config = load_config(next(path for path in CONFIGS if path.stem == name))
        assert config.model.path == "Qwen/Qwen3-VL-8B-Instruct"
        assert (config.train.prompts_per_step, config.grpo.group_size) == (64, 8)
        assert (config.grpo.updates_per_batch, config.grpo.kl_coef) == (1, 0.001)
        assert (config.grpo.clip_low, config.grpo.clip_high) == (0.2, 0.2)
        assert config.learner.learning_rate == 1e-6
        assert (config.data.max_prompt_tokens, config.rollout.max_tokens) == (8192, 2048)
        assert config.train.steps == 30_000 // 64  # one epoch of VideoSSR-30K
        frames = config.data.frames
        assert (frames.num_frames, frames.window) == (48, 0.9)
        assert (frames.min_pixels, frames.max_pixels) == (128 * 128, 256 * 256)
        assert config.data.mix == {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2}
        assert config.data.jigsaw.num_clips == 6
        assert set(config.data.grounding.perturbations) == {
            "channel_swap",
            "mirror",
            "zoom_out",
            "rotate_180",
        }
        assert config.data.system_prompt == "Answer directly."
        assert config.rollout.temperature == 1.0
        assert config.warmup is None


def test_the_defaults_are_the_papers_settings(write: WriteConfig) -> None:
    assert load_config(write("name: mine")).model_dump(exclude={"name"}) == Config().model_dump(
        exclude={"name"}
    )


# --- overrides -------------------------------------------------------------------------------------


def test_overrides_are_yaml_and_reach_any_depth(write: WriteConfig) -> None:
    path = write("train: {steps: 3, checkpoint_every: 7}\ndata: {mix: {jigsaw: 1}}")
    config = load_config(
        path,
        [
            "train.steps=10",
            "data.frames.num_frames=24",
            "data.mix={grounding: 1, jigsaw: 3}",
            "learner.learning_rate=1e-4",
            "rollout.vllm_args.block_size=16",
            "data.system_prompt=Be brief. a=b",
            "warmup.target_score=0.3",
        ],
    )
    assert (config.train.steps, config.train.checkpoint_every) == (10, 7)
    assert config.data.frames.num_frames == 24
    assert config.data.mix == {"grounding": 1, "jigsaw": 3}
    assert config.learner.learning_rate == 1e-4
    assert config.rollout.vllm_args == {"block_size": 16}
    assert config.warmup is not None
    assert config.warmup.target_score == 0.3


def test_an_override_can_remove_a_section(write: WriteConfig) -> None:
    assert load_config(write("warmup: {target_score: 0.3}"), ["warmup=null"]).warmup is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.steps", "'train.steps': an override has the form dotted.key=value, as in train.steps=10."),
        ("=3", "'=3': an override has the form dotted.key=value"),
        ("data.mix={jigsaw: 1", "the value is not YAML. Quote it, as in data.mix='\"text\"'."),
        ("train.step=10", "train.step=10: there is no such setting. Did you mean train.steps?"),
        ("train.steps.more=1", "train.steps={'more': 1}: input should be a valid integer"),
    ],
)
def test_an_invalid_override_is_refused(write: WriteConfig, override: str, words: str) -> None:
    assert words in refusal(write("name: x"), override)


# --- files -----------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path / "nowhere.yaml")
    assert said.startswith(str(tmp_path / "nowhere.yaml"))
    assert "No such file or directory" in said
    assert "configs/demo.yaml" in said


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["name: [unclosed", "a: b: c", "\t- x"])
def test_a_file_that_is_not_yaml_is_refused_on_one_line(write: WriteConfig, text: str) -> None:
    said = refusal(write(text))
    assert "is not YAML" in said
    assert "\n" not in said


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"\xff\xfe\x00\x81" * 20)
    assert "is not YAML" in refusal(path)


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words", "3"])
def test_a_file_without_settings_is_refused(write: WriteConfig, text: str) -> None:
    assert "holds no settings. Start from configs/demo.yaml." in refusal(write(text))


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learnr: {}", "learnr={}: there is no such setting. Did you mean learner?"),
        ("grpo: {group_sise: 8}", "grpo.group_sise=8: there is no such setting. Did you mean grpo.group_size?"),
        ("data: {frames: {num_frame: 8}}", "data.frames.num_frame=8: there is no such setting. Did you mean "
         "data.frames.num_frames?"),
        ("data: {jigsaw: {clips: 4}}", "data.jigsaw.clips=4: there is no such setting. Did you mean "
         "data.jigsaw.num_clips?"),
        ("warmup: {target: 1}", "Did you mean warmup.target_score?"),
        ("model: {zzz: 1}", "model.zzz=1: there is no such setting. Known: path."),
        ("grpo: {group_size: 1}", "grpo.group_size=1: input should be greater than or equal to 2. GRPO compares "
         "the completions of a prompt: with one, every advantage is 0. Set it to 2 or more."),
        ("rollout: {temperature: 0}", "rollout.temperature=0: input should be greater than 0. At 0 all "
         "completions of a prompt are alike. Set it to 1.0, or another value above 0."),
        ("train: {steps: ten}", "train.steps='ten': input should be a valid integer"),
        ("train: {steps: 0}", "train.steps=0: input should be greater than or equal to 1. Change train.steps."),
        ("train: 5", "train=5: is a section of settings, not a value. Set one, as train.checkpoint_every"),
        ("learner: {dtype: float16}", "learner.dtype='float16': input should be 'float32' or 'bfloat16'. Change"),
        ("learner: {zero_stage: 4}", "learner.zero_stage=4: input should be 1, 2 or 3"),
        ("learner: {adam_betas: [0.9, 1.5]}", "learner.adam_betas.1=1.5: input should be less than 1"),
        ("data: {mix: {shuffled: 1}}", "data.mix.shuffled='shuffled': input should be 'grounding', 'jigsaw' or"),
        ("data: {mix: {grounding: 1, jigsaw: -1}}", "data.mix.jigsaw=-1: input should be greater than or equal"),
        ("data: {mix: {grounding: .nan}}", "data.mix.grounding=nan: input should be a finite number"),
        ("data: {mix: {grounding: 0}}", "data.mix={'grounding': 0.0}: no task has a weight above 0. Give one a"),
        ("data: {mix: {}}", "data.mix={}: no task has a weight above 0"),
        ("data: {frames: {num_frames: 7}}", "data.frames.num_frames=7: input should be a multiple of 2"),
        ("data: {frames: {max_pixels: 100, min_pixels: 1}}", "no 32x32 block fits. Set it to 1024 or more."),
        ("data: {jigsaw: {num_clips: 5}}", "data.jigsaw: num_clips=5"),
        ("data: {frames: {num_frames: 12}}", "data.grounding: segment=[8, 16]: must end below num_frames=12"),
        ("name: a/b", "name='a/b': string should match pattern"),
        ("name: ..", "name='..': string should match pattern"),
        ("data: {system_prompt: [1]}", "data.system_prompt=[1]: input should be a valid string"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name_and_the_rule(write: WriteConfig, text: str, words: str) -> None:
    assert words in refusal(write(text))


def test_all_bad_values_are_reported_at_once_one_line_each(write: WriteConfig) -> None:
    said = refusal(write("grpo: {group_size: 1, kl: 0}\ntrain: {steps: x}")).splitlines()
    assert [line.split("=")[0] for line in said] == ["grpo.group_size", "grpo.kl", "train.steps"]


def test_a_long_value_is_shortened(write: WriteConfig) -> None:
    assert len(refusal(write(f"train: {{steps: {'x' * 500}}}"))) < 250


# --- settings that contradict each other --------------------------------------------------------------

CPU = {"cluster.device": "cpu", "rollout.dtype": "float32", "learner.dtype": "float32"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cluster.device": "cpu", "learner.dtype": "float32"}, "rollout.dtype='bfloat16': on a CPU we train in"),
        ({"cluster.device": "cpu", "rollout.dtype": "float32"}, "learner.dtype='bfloat16': on a CPU we train in"),
        (CPU | {"cluster.placement": "shared"}, "there are no GPUs to share on a CPU. Set it to separate."),
        (CPU | {"train.prompts_per_step": "3", "learner.num_workers": "4"}, "train.prompts_per_step=3: every "
         "learner rank needs a prompt. Set it to learner.num_workers=4 or more."),
        (CPU | {"train.prompts_per_step": "4", "learner.num_workers": "2", "grpo.updates_per_batch": "3"},
         "grpo.updates_per_batch=3: too few prompts for as many updates on 2 rank(s)."),
        ({"cluster.placement": "shared", "rollout.num_workers": "3", "learner.num_workers": "4"},
         "rollout has 3 engines of 1 GPU(s) and learner 4 ranks. Make the numbers equal"),
        ({"cluster.placement": "shared", "rollout.tensor_parallel_size": "2"}, "tensor_parallel_size 1."),
        ({"train.max_staleness": "1", "grpo.importance": "token", "learner.max_logprob_gap": "0.1"},
         "learner.max_logprob_gap=0.1: compares engine and learner on rollouts of the current policy"),
        ({"evaluation.every": "2", "evaluation.samples_per_task": "0"}, "evaluation.every=2: there is nothing to"),
        (CPU | {"learner.attention": "flex"}, "learner.attention='flex': its kernels need a GPU."),
        ({"train.max_staleness": "1"}, "grpo.importance='none': with train.max_staleness=1 rollouts are of an older"),
        ({"train.max_staleness": "1", "grpo.importance": "token", "cluster.placement": "shared",
          "rollout.num_workers": "1"}, "train.max_staleness=1: on shared GPUs rollout and update take turns"),
        ({"grpo.task_weights": "{counting: 2, jigsaw: 1}", "data.mix": "{jigsaw: 1}"}, "counting is not in data.mix"),
        ({"learner.schedule.warmup_steps": "10", "train.steps": "10"}, "learner.schedule.warmup_steps=10: the run"),
        ({"grpo.overlong.buffer_tokens": "5000"}, "longer than the longest completion"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(
    write: WriteConfig, settings: dict[str, str], words: str
) -> None:
    said = refusal(write("name: x"), *[f"{key}={value}" for key, value in settings.items()])
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_task_without_weight_is_not_checked_and_not_run() -> None:
    config = build_config({"data": {"mix": {"jigsaw": 0, "counting": 1}, "frames": {"num_frames": 32},
                                    "grounding": {"segment": [20, 40]}}})  # fmt: skip
    assert config.data.tasks == ("counting",)


@pytest.mark.parametrize(
    ("device", "placement", "shares_gpus", "weight_transfer"),
    [
        ("cpu", "separate", False, "gloo"),
        ("cuda", "separate", False, "nccl"),
        ("cuda", "shared", True, "ipc"),
    ],
)
def test_weight_transfer_follows_from_device_and_placement(
    device: str, placement: str, shares_gpus: bool, weight_transfer: str
) -> None:
    cluster = validated(ClusterConfig, {"device": device, "placement": placement})
    assert (cluster.shares_gpus, cluster.weight_transfer) == (shares_gpus, weight_transfer)
