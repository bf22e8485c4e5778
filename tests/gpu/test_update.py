"""Tests of the update on a GPU: the packed forward pass gives the logprobs and gradients of the plain one.

Both attention kernels, sdpa and flex, are compared with the plain forward pass. `make gpu` runs these tests; without a
GPU they are skipped.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learner.batch import collate
from learner.modeling.policy_model import PolicyModel, load_model
from tests.conftest import TinyFolder
from tests.unit.learner.tiny_prompts import ARCHITECTURES, part, prompts, spec_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CLIPS = [[(4, 64, 64)], [(2, 64, 64), (2, 64, 96), (4, 64, 64)]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["sdpa", "flex"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_the_packed_forward_gives_what_the_plain_one_gives(
    tiny_folder: TinyFolder, architecture: str, attention: str, dtype: str, tolerance: float
) -> None:
    folder = tiny_folder(architecture)
    spec = replace(spec_of(folder, attention=attention), dtype=dtype)
    made = prompts(folder, CLIPS)
    batch = collate([part(spec, prompt, (3, 150, 150)) for prompt in made]).to(torch.device("cuda"))
    found = {}
    for shared in (True, False):
        loaded = load_model(spec if shared else replace(spec, attention="sdpa"), packed=shared)
        policy = PolicyModel(loaded.cuda(), spec, shared_prefix=shared).train()
        logprobs, _ = policy(batch)
        logprobs.mean().backward()
        gradient = torch.cat([p.grad.flatten().float() for p in loaded.parameters() if p.grad is not None])
        found[shared] = (logprobs.detach(), gradient)
    assert (found[True][0] - found[False][0]).abs().max() < tolerance
    cosine = torch.nn.functional.cosine_similarity(found[True][1], found[False][1], dim=0)
    assert cosine > (0.99999 if dtype == "float32" else 0.98)


def test_gradient_checkpointing_with_flex_attention_runs(tiny_folder: TinyFolder) -> None:
    spec = spec_of(tiny_folder("qwen3_vl"), attention="flex")
    (prompt,) = prompts(Path(spec.path), CLIPS[:1])
    batch = collate([part(spec, prompt, (3, 5))]).to(torch.device("cuda"))
    model = load_model(spec).cuda()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = PolicyModel(model, spec, shared_prefix=True).train()
    policy(batch)[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in policy.parameters())
