"""Tests that compare PolicyModel on tiny models of both architectures with plain forward passes of transformers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import learner.modeling.policy_model
from learner.batch import MicroBatch, PromptWithCompletions, collate
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model, normalise_patches
from pretext.recipe import Clip
from rollout.prompt import PromptBuilder
from tests.unit.learner.tiny_prompts import ARCHITECTURES, part, plain_logprobs, prompts, spec_of

TinyFolder = Callable[[str], Path]
# The prompts have one clip, one clip of another size, and several clips as in a jigsaw. The second has a completion of
# one token, the third has long ones.
CLIPS = [[(4, 64, 64)], [(2, 96, 64)], [(2, 64, 64), (2, 64, 96), (4, 64, 64)]]
LENGTHS = [(3, 5), (1, 4), (150, 150, 2)]  # 299 tokens of inputs: more than one block


@pytest.fixture(params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tiny_folder: TinyFolder) -> Path:
    return tiny_folder(request.param)


def parts_of(spec: ModelSpec) -> list[PromptWithCompletions]:
    made = prompts(Path(spec.path), CLIPS)
    assert len({len(prompt.token_ids) for prompt in made}) == 3
    return [part(spec, prompt, lengths) for prompt, lengths in zip(made, LENGTHS, strict=True)]


def policy_of(spec: ModelSpec, *, shared_prefix: bool = True) -> PolicyModel:
    return PolicyModel(load_model(spec, packed=shared_prefix), spec, shared_prefix=shared_prefix)


def weights_of(batch: MicroBatch) -> Tensor:
    return torch.randn(len(batch.sequence), generator=torch.Generator().manual_seed(3))


def gradients(logprobs: Tensor, batch: MicroBatch, model: Any) -> dict[str, Tensor]:
    model.zero_grad()
    (logprobs * weights_of(batch)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((found[name] - gradient).abs().max()) < 1e-5 * scale, name


def test_normalised_patches_equal_those_of_the_processor(tiny_folder: TinyFolder) -> None:
    from transformers import AutoConfig, AutoProcessor, AutoVideoProcessor

    folder = tiny_folder("qwen3_vl")
    processor = AutoVideoProcessor.from_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), np.uint8)
    out = processor(
        videos=[frames.transpose(0, 3, 1, 2)], do_resize=False, do_sample_frames=False, return_tensors="pt"
    )
    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=400
    )
    clip = Clip(frames, np.arange(4.0))
    patches = torch.from_numpy(builder.build(system="", content=(0,), clips=[clip])[1].patches)
    found = normalise_patches(
        patches, mean=processor.image_mean, std=processor.image_std, dtype=torch.float32
    )
    assert patches.dtype == torch.uint8
    assert torch.equal(found, out["pixel_values_videos"])


def test_each_channel_has_its_own_mean_and_std() -> None:
    # Two patches of 3 channels x 2 pixels; 255 is 1.0 and 51 is 0.2.
    patches = torch.tensor([[0, 255, 51, 51, 255, 0], [255] * 6], dtype=torch.uint8)
    found = normalise_patches(patches, mean=(0.0, 0.2, 0.5), std=(1.0, 0.4, 0.25), dtype=torch.float32)
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 1.0, 0.0, 0.0, 2.0, -2.0], [1.0, 1.0, 2.0, 2.0, 2.0, 2.0]])
    )


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_logprobs_and_gradients_equal_those_of_plain_forward_passes(
    folder: Path, shared_prefix: bool
) -> None:
    spec = spec_of(folder)
    parts = parts_of(spec)
    batch = collate(parts)
    plain = load_model(spec_of(folder), packed=False)
    expected = torch.cat([plain_logprobs(plain, spec, p.prompt, c) for p in parts for c in p.completions])
    policy = policy_of(spec, shared_prefix=shared_prefix)
    found, entropy = policy(batch)
    assert expected.std() > 0.1  # equal numbers everywhere would show nothing
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not entropy.requires_grad
    expected_gradients = gradients(expected, batch, plain)
    assert any("visual" in name for name in expected_gradients)
    assert_same(gradients(found, batch, policy.model), expected_gradients)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_the_same_logprobs(folder: Path) -> None:
    # torch has no backward pass of flex attention on a CPU; tests/gpu compares the gradients.
    batch = collate(parts_of(spec_of(folder)))
    with torch.no_grad():
        expected = policy_of(spec_of(folder))(batch)[0]
        found = policy_of(spec_of(folder, attention="flex"))(batch)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_gradient_checkpointing_changes_nothing(folder: Path, shared_prefix: bool) -> None:
    spec = spec_of(folder)
    batch = collate(parts_of(spec))
    policy = policy_of(spec, shared_prefix=shared_prefix).train()
    expected = gradients(policy(batch)[0], batch, policy.model)
    policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.train()
    assert_same(gradients(policy(batch)[0], batch, policy.model), expected)


def test_logits_of_long_batches_are_computed_in_pieces(
    tiny_folder: TinyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny_folder("qwen3_vl"))
    batch = collate(parts_of(spec))
    policy = policy_of(spec)
    logprobs, entropy = policy(batch, entropy_grad=True)
    expected = gradients(logprobs + entropy, batch, policy.model)
    monkeypatch.setattr(learner.modeling.policy_model, "LOGIT_TOKENS", 7)
    sizes = []
    policy.model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    pieces, piece_entropy = policy(batch, entropy_grad=True)
    assert max(sizes) == 7
    torch.testing.assert_close(pieces, logprobs, rtol=1e-6, atol=1e-6)
    assert_same(gradients(pieces + piece_entropy, batch, policy.model), expected)


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_given_features_replace_the_vision_tower(folder: Path, shared_prefix: bool) -> None:
    spec = spec_of(folder)
    batch = collate(parts_of(spec))
    policy = policy_of(spec, shared_prefix=shared_prefix)
    policy.model.model.visual.requires_grad_(False)
    expected = policy(batch)[0]
    runs = []
    policy.model.model.visual.register_forward_hook(lambda *args: runs.append(1))
    features = policy.video_features(batch)
    found = [policy(batch, features)[0] for _ in range(2)]
    assert len(runs) == 1
    torch.testing.assert_close(found[1], expected, rtol=0, atol=1e-6)
    assert_same(gradients(found[1], batch, policy.model), gradients(expected, batch, policy.model))


def test_frames_of_one_size_share_a_call_of_vision_attention(folder: Path) -> None:
    spec = spec_of(folder)
    calls = []
    policy = policy_of(spec)
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(query.shape)
        return attend(query, *args, **kwargs)

    (prompt,) = prompts(folder, [[(8, 64, 64)]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
        policy.video_features(collate([part(spec, prompt, (2,))]))
    assert len(calls) == policy.model.config.vision_config.depth  # one call per layer, not one per frame


def test_logprobs_of_a_completion_depend_on_the_video(folder: Path) -> None:
    spec = spec_of(folder)
    batch = collate(parts_of(spec))
    policy = policy_of(spec)
    with torch.no_grad():
        seen = policy(batch)[0]
        unseen = policy(replace(batch, patches=torch.zeros_like(batch.patches)))[0]
    assert (seen - unseen).abs().max() > 1e-3


def test_logprobs_of_a_completion_do_not_depend_on_other_completions(folder: Path) -> None:
    spec = spec_of(folder)
    (prompt,) = prompts(folder, CLIPS[:1])
    first, second = part(spec, prompt, (4, 6)), part(spec, prompt, (4, 6), seed=2)
    mixed = replace(first, completions=[first.completions[0], second.completions[1]])
    policy = policy_of(spec)
    with torch.no_grad():
        alone, beside = policy(collate([first]))[0], policy(collate([mixed]))[0]
    torch.testing.assert_close(alone[:4], beside[:4], rtol=0, atol=1e-6)
    assert (alone[4:] - beside[4:]).abs().max() > 1e-2
