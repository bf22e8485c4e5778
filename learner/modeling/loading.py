"""Loads the policy, its optimizer and its reference model under DeepSpeed."""

import os
from dataclasses import dataclass, replace
from typing import Any

import torch

from learner.config import LearnerConfig
from learner.modeling.deepspeed_setup import (
    deepspeed_config,
    import_muon_uncompiled,
    reference_config,
    set_kernel_build_folder,
)
from learner.modeling.lora import add_adapters
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model


@dataclass(frozen=True)
class LoadedPolicy:
    """DeepSpeed's engines of one rank."""

    engine: Any  # trains a PolicyModel
    reference: Any | None  # evaluates the PolicyModel of the start policy; None: there is no reference model
    sharded_loading: (
        Any | None
    )  # transformers.integrations.HfDeepSpeedConfig, kept alive for ZeRO-3; see load_policy


def load_policy(
    spec: ModelSpec, config: LearnerConfig, *, device: str, reference_path: str | None
) -> LoadedPolicy:
    """Load this rank's part of the policy. A collective: all ranks call it together.

    Args:
        spec: the model to start from.
        device: "cpu" or "cuda".
        reference_path: folder of the reference model; None: load no reference model.
    """
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    set_kernel_build_folder()
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    ds_config = deepspeed_config(config)
    # While an HfDeepSpeedConfig exists, from_pretrained shards each weight as it is read.
    shard_while_loading = device == "cuda" and config.zero_stage == 3
    sharded_loading = HfDeepSpeedConfig(ds_config) if shard_while_loading else None
    deepspeed.init_distributed("nccl" if device == "cuda" else "gloo")
    policy = _trainable_model(spec, config)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        betas=config.adam_betas,
        weight_decay=config.weight_decay,
    )
    import_muon_uncompiled()
    engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=ds_config)
    reference = None
    if reference_path is not None:
        start = load_model(replace(spec, path=reference_path), packed=config.shared_prefix)
        model = PolicyModel(start, spec, shared_prefix=config.shared_prefix).eval()
        model.requires_grad_(False)
        reference, *_ = deepspeed.initialize(model=model, config=reference_config(config))
    return LoadedPolicy(engine, reference, sharded_loading)


def _trainable_model(spec: ModelSpec, config: LearnerConfig) -> PolicyModel:
    """Load the start model, freeze what `config` freezes and add adapters."""
    model = load_model(spec, packed=config.shared_prefix)
    if config.freeze_vision:
        model.model.visual.requires_grad_(False)
    if config.lora is not None:
        add_adapters(model, config.lora)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return PolicyModel(model, spec, shared_prefix=config.shared_prefix).train()
