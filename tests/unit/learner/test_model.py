"""`learner.model` on tiny models of both architectures: the right pixels, and padding that changes nothing."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learner.batch import Row, collate
from learner.model import ModelSpec, completion_logprobs, load_model, normalise_patches
from pretext.recipe import Clip
from rollout.prompt import ModelInput, PromptBuilder, forbidden_token_ids

TinyFolder = Callable[[str], Path]
ARCHITECTURES = ("qwen3_vl", "qwen2_5_vl")


def spec_of(folder: Path) -> ModelSpec:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return ModelSpec(
        path=str(folder),
        dtype="float32",
        attention="sdpa",
        pad_token_id=tokenizer.pad_token_id,
        forbidden=forbidden_token_ids(tokenizer, AutoConfig.from_pretrained(folder).text_config.vocab_size),
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        temperature=0.8,
    )


def prompts(folder: Path, sizes: Sequence[tuple[int, int, int]]) -> list[ModelInput]:
    """A prompt for each (frames, height, width), of noise."""
    from transformers import AutoConfig, AutoProcessor

    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=400
    )
    rng = np.random.default_rng(0)
    built = []
    for frames, height, width in sizes:
        clip = Clip(rng.integers(0, 256, (frames, height, width, 3), np.uint8), np.arange(frames) / 2)
        built.append(builder.build(system="Answer.", content=(0, "When?" * frames), clips=[clip])[1])
    return built


def rows_of(spec: ModelSpec, inputs: Sequence[ModelInput]) -> list[Row]:
    rng = np.random.default_rng(1)
    allowed = [id for id in range(300) if id not in spec.forbidden]
    return [
        Row(entry, tuple(rng.choice(allowed, size=n + 1).tolist()), (-1.0,) * (n + 1), 1.0)
        for n, entry in enumerate(inputs)
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_normalised_patches_are_the_processors_own(tiny_folder: TinyFolder, architecture: str) -> None:
    from transformers import AutoVideoProcessor

    folder = tiny_folder(architecture)
    processor = AutoVideoProcessor.from_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), np.uint8)
    out = processor(
        videos=[frames.transpose(0, 3, 1, 2)], do_resize=False, do_sample_frames=False, return_tensors="pt"
    )
    from transformers import AutoConfig, AutoProcessor

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


@pytest.mark.parametrize("shared_prefix", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_padded_batch_gives_what_each_row_gives_alone(
    tiny_folder: TinyFolder, architecture: str, shared_prefix: bool
) -> None:
    spec = spec_of(tiny_folder(architecture))
    model = load_model(spec).eval()
    inputs = prompts(Path(spec.path), [(4, 64, 64), (8, 64, 96), (2, 96, 64)])
    rows = rows_of(spec, [inputs[0], inputs[1], inputs[0], inputs[2]])
    assert len({len(entry.token_ids) for entry in inputs}) == 3
    batch = collate(rows, pad_token_id=spec.pad_token_id)
    with torch.no_grad():
        together, entropy = completion_logprobs(model, batch, spec, shared_prefix=shared_prefix)
        for index, row in enumerate(rows):
            single = collate([row], pad_token_id=spec.pad_token_id)
            alone, own_entropy = completion_logprobs(model, single, spec)
            length = len(row.completion)
            torch.testing.assert_close(together[index, :length], alone[0, :length], rtol=0, atol=1e-5)
            torch.testing.assert_close(entropy[index, :length], own_entropy[0, :length], rtol=0, atol=1e-5)
    assert together[batch.completion_mask > 0].std() > 1e-3  # one number everywhere would show nothing


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logprobs_are_those_of_a_plain_forward(tiny_folder: TinyFolder, architecture: str) -> None:
    spec = spec_of(tiny_folder(architecture))
    model = load_model(spec).eval()
    (prompt,) = prompts(Path(spec.path), [(4, 64, 96)])
    completion = (40, 41, 42, 43)
    ids = np.concatenate([prompt.token_ids, completion])
    after = prompt.next_position + np.arange(len(completion))  # past the grid, so not the number of tokens
    assert prompt.next_position != len(prompt.token_ids)
    positions = np.concatenate([prompt.positions, np.broadcast_to(after, (3, len(completion)))], axis=1)
    with torch.no_grad():
        logits = model(
            input_ids=torch.from_numpy(ids)[None],
            position_ids=torch.from_numpy(positions)[:, None],
            pixel_values_videos=(torch.from_numpy(prompt.patches).float() / 255 - 0.5) / 0.5,
            video_grid_thw=torch.from_numpy(prompt.grid_thw),
        ).logits[0, len(prompt.token_ids) - 1 : -1]
        row = Row(prompt, completion, (0.0,) * len(completion), 0.0)
        found, _ = completion_logprobs(model, collate([row], pad_token_id=spec.pad_token_id), spec)
    logits[:, list(spec.forbidden)] = -torch.inf
    expected = (logits / spec.temperature).log_softmax(-1)[range(len(completion)), completion]
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shared_prefix_gives_the_same_gradients(tiny_folder: TinyFolder, architecture: str) -> None:
    spec = spec_of(tiny_folder(architecture))
    model = load_model(spec).train()
    inputs = prompts(Path(spec.path), [(4, 64, 64), (2, 64, 96)])
    batch = collate(
        rows_of(spec, [inputs[0], inputs[0], inputs[1], inputs[0]]), pad_token_id=spec.pad_token_id
    )
    weights = torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) * batch.completion_mask
    gradients = []
    for shared_prefix in (False, True):
        model.zero_grad()
        logprobs, _ = completion_logprobs(model, batch, spec, shared_prefix=shared_prefix)
        (logprobs * weights).sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    for name, gradient in gradients[0].items():
        scale = float(gradient.abs().max())
        assert scale > 0, name  # everything is trained, the vision tower too
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-5 * max(scale, 1), msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_completion_sees_the_video(tiny_folder: TinyFolder, architecture: str) -> None:
    spec = spec_of(tiny_folder(architecture))
    model = load_model(spec).eval()
    (row,) = rows_of(spec, prompts(Path(spec.path), [(4, 64, 64)]))
    batch = collate([row], pad_token_id=spec.pad_token_id)
    blank = dataclasses.replace(batch, patches=torch.zeros_like(batch.patches))
    with torch.no_grad():
        seen, unseen = completion_logprobs(model, batch, spec)[0], completion_logprobs(model, blank, spec)[0]
    assert (seen - unseen).abs().max() > 1e-3


class UniformModel:
    """Says the same of every token, and keeps its logits."""

    logits: torch.Tensor

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        self.logits = torch.zeros(
            inputs["input_ids"].shape[0], inputs["logits_to_keep"], 8, requires_grad=True
        )
        return SimpleNamespace(logits=self.logits)


def test_a_padding_id_that_is_forbidden_does_no_harm() -> None:
    # Some published folders pad with a vision token, whose logprob is -inf.
    spec = ModelSpec("", "float32", "sdpa", 7, (6, 7), (0.5,) * 3, (0.5,) * 3, 1.0)
    prompt = ModelInput(
        np.arange(3), np.arange(9).reshape(3, 3), 3, np.zeros((1, 12), np.uint8), np.array([[1, 1, 1]])
    )
    rows = [Row(prompt, (1, 2, 3), (-1.0,) * 3, 1.0), Row(prompt, (4,), (-1.0,), 1.0)]
    model = UniformModel()
    batch = collate(rows, pad_token_id=spec.pad_token_id)
    logprobs, _ = completion_logprobs(model, batch, spec)
    ((logprobs - logprobs.detach()).exp() * batch.completion_mask).sum().backward()
    expected = -float(np.log(6)) * batch.completion_mask
    torch.testing.assert_close(logprobs.detach(), expected)
    assert model.logits.grad is not None
    assert model.logits.grad.isfinite().all()
