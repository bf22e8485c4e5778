"""The policy as a transformers model: loading it, and the logprobs of a micro-batch's completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from learner.algorithm.loss import token_logprobs
from learner.batch import MicroBatch
from learner.config import LOGIT_TOKENS
from learner.modeling.attention import PACKED_ATTENTIONS, install_packed_attention


@dataclass(frozen=True)
class ModelSpec:
    """The facts about a model that the learner needs.

    Args:
        path: Hugging Face folder or hub id.
        dtype: precision of the weights in forward and backward, "float32" or "bfloat16".
        attention: with a shared prefix one of learner.modeling.attention.PACKED_ATTENTIONS, else a name that
            transformers knows.
        pad_token_id: any id; padding is masked.
        forbidden: ids of probability 0: vision tokens and rows past the vocabulary.
        pixel_mean, pixel_std: per channel, for pixels in [0, 1].
        temperature: the engine's sampling temperature.
    """

    path: str
    dtype: str
    attention: str
    pad_token_id: int
    forbidden: tuple[int, ...]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    temperature: float


@dataclass(frozen=True)
class VideoFeatures:
    """The vision tower's outputs for a micro-batch's videos, in the form that transformers' models take."""

    pooler_output: tuple[Tensor, ...]  # per video [num_video_tokens, hidden]
    deepstack_features: tuple[tuple[Tensor, ...], ...]  # per layer (Qwen3-VL), per video, the same shape


def load_model(spec: ModelSpec, *, packed: bool = True) -> Any:
    """Load a transformers model from a folder or hub id, in the precision of `spec`.

    Args:
        packed: install our attention, which takes packed groups, and all frames of one size in one call.
    """
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        spec.path,
        dtype=getattr(torch, spec.dtype),
        attn_implementation="sdpa" if packed else spec.attention,
    )
    if packed:
        install_packed_attention(model)
    return model


def normalise_patches(
    patches: Tensor, *, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """Normalise uint8 patches [num_patches, channels * pixels_per_channel] for the vision tower.

    Like the processors, this folds the division by 255 into mean and std, so the floats are the same.
    """
    channels = len(mean)
    values = patches.view(len(patches), channels, -1).float()
    shift = torch.tensor(mean, device=patches.device).view(1, -1, 1) * 255
    scale = torch.tensor(std, device=patches.device).view(1, -1, 1) * 255
    return ((values - shift) / scale).flatten(1).to(dtype)


class PolicyModel(torch.nn.Module):
    """A transformers model whose forward returns the logprobs of completions.

    Everything that is trained goes through this one forward, so DeepSpeed can shard, gather and hook it as usual.

    Args:
        model: from `load_model`, packed if `shared_prefix` is set.
        shared_prefix: compute each prompt once, followed by its completions. Otherwise repeat the prompt for every
            completion, in one padded batch: the plain way, which gives the same numbers.
    """

    def __init__(self, model: Any, spec: ModelSpec, *, shared_prefix: bool) -> None:
        super().__init__()
        self.model, self.spec, self.shared_prefix = model, spec, shared_prefix

    def forward(
        self, batch: MicroBatch, features: VideoFeatures | None = None, *, entropy_grad: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return (logprobs, entropy) of the completions' tokens, each [num_tokens] float32, in nats.

        Args:
            features: of the batch's videos; None: the vision tower computes them.
            entropy_grad: whether the entropy has a gradient.
        """
        compute = self._packed if self.shared_prefix else self._row_by_row
        hidden = compute(batch, features)  # [num_tokens, hidden]
        forbidden = torch.tensor(self.spec.forbidden, dtype=torch.int64, device=hidden.device)

        def head(hidden: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
            return token_logprobs(
                self.model.lm_head(hidden),
                target_ids,
                temperature=self.spec.temperature,
                forbidden=forbidden,
                entropy_grad=entropy_grad,
            )

        pieces = list(zip(hidden.split(LOGIT_TOKENS), batch.target_ids.split(LOGIT_TOKENS), strict=True))
        if len(pieces) == 1:
            return head(*pieces[0])
        # Logits are the largest tensors, so they are not kept: the backward pass computes them again, piece by piece.
        results = [checkpoint(head, *piece, use_reentrant=False) for piece in pieces]
        return torch.cat([logprobs for logprobs, _ in results]), torch.cat(
            [entropy for _, entropy in results]
        )

    def video_features(self, batch: MicroBatch) -> VideoFeatures:
        """Return the vision tower's outputs, deepstack included, without gradient."""
        with torch.no_grad():
            output = self.model.model.get_video_features(
                self._pixels(batch.patches), batch.grid_thw, return_dict=True
            )
        deepstack = getattr(output, "deepstack_features", None) or ()
        return VideoFeatures(output.pooler_output, tuple(deepstack))

    def _pixels(self, patches: Tensor) -> Tensor:
        spec = self.spec
        return normalise_patches(
            patches, mean=spec.pixel_mean, std=spec.pixel_std, dtype=getattr(torch, spec.dtype)
        )

    def _packed(self, batch: MicroBatch, features: VideoFeatures | None) -> Tensor:
        """Return the hidden states that predict each token, from one packed sequence (learner.modeling.attention)."""
        output = self.model.model(
            input_ids=batch.token_ids[None],
            position_ids=batch.positions[:, None],
            packed_attention=PACKED_ATTENTIONS[self.spec.attention](batch.spans, batch.token_ids.device),
            use_cache=False,
            **self._vision(batch, features, range(len(batch.videos_per_prompt))),
        )
        return output.last_hidden_state[0, batch.predicted_at]  # type: ignore[no-any-return]

    def _row_by_row(self, batch: MicroBatch, features: VideoFeatures | None) -> Tensor:
        """Return the hidden states that predict each token, from a padded batch with one row per completion."""
        rows, prompt_of_row, start = [], [], 0
        for index, span in enumerate(batch.spans):
            prompt = torch.arange(start, start + span.prompt)
            start += span.prompt
            for length in span.completions:
                rows.append(torch.cat([prompt, torch.arange(start, start + length)]))
                prompt_of_row.append(index)
                start += length
        lengths = torch.tensor([len(row) for row in rows])
        device = batch.token_ids.device
        indices = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)
        ids = batch.token_ids[indices].masked_fill(~mask, self.spec.pad_token_id)
        output = self.model.model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=batch.positions[:, indices].masked_fill(~mask, 0),
            use_cache=False,
            **self._vision(batch, features, prompt_of_row),
        )
        # The last `tokens` positions of a row, before its padding, predict its completion.
        tokens = batch.lengths.tolist()
        hidden = output.last_hidden_state
        return torch.cat(
            [hidden[i, n - k : n] for i, (n, k) in enumerate(zip(lengths.tolist(), tokens, strict=True))]
        )

    def _vision(
        self, batch: MicroBatch, features: VideoFeatures | None, prompts: Sequence[int]
    ) -> dict[str, Any]:
        """Return the model's inputs for the videos of these prompts, in order: features if given, else pixels."""
        ends = torch.tensor(batch.videos_per_prompt).cumsum(0).tolist()
        videos = [video for p in prompts for video in range(ends[p] - batch.videos_per_prompt[p], ends[p])]
        if features is not None:
            chosen = VideoFeatures(
                tuple(features.pooler_output[v] for v in videos),
                tuple(tuple(layer[v] for v in videos) for layer in features.deepstack_features),
            )
            return {"mm_encoder_outputs": {"video": chosen}}
        patches = batch.patches.split(batch.grid_thw.prod(dim=1).tolist())
        return {
            "pixel_values_videos": self._pixels(torch.cat([patches[v] for v in videos])),
            "video_grid_thw": batch.grid_thw[videos],
        }
