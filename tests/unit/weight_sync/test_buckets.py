"""Packing parameters into buckets: nothing is lost, cut or misplaced."""

import torch

from weight_sync.buckets import Bucket, plan_buckets

PARAMETERS = [
    ("odd", torch.bfloat16, (3, 5)),  # 30 bytes: what follows must be aligned anew
    ("single", torch.float32, ()),
    ("matrix", torch.float32, (8, 16)),  # 512 bytes, the bucket's size
    ("huge", torch.float32, (100, 10)),  # 4000 bytes
    ("empty", torch.float32, (0, 4)),
    ("half", torch.float16, (7,)),
]
BUCKET_BYTES = 512


def _plan() -> list[Bucket]:
    return plan_buckets(PARAMETERS, BUCKET_BYTES)


def test_buckets_hold_all_parameters_in_order_and_only_a_huge_one_is_larger() -> None:
    names = [[piece.name for piece in bucket.pieces] for bucket in _plan()]
    assert names == [["odd", "single"], ["matrix"], ["huge"], ["empty", "half"]]
    assert [bucket.num_bytes for bucket in _plan()] == [68, 512, 4000, 14]


def test_parameters_come_out_as_they_went_in() -> None:
    for bucket in _plan():
        memory = torch.zeros(bucket.num_bytes, dtype=torch.uint8)
        weights = [torch.randn(piece.shape).to(piece.dtype) for piece in bucket.pieces]
        for piece, weight in zip(bucket.pieces, weights, strict=True):
            piece.view(memory).copy_(weight)
        sent = memory.clone()  # other addresses, as in another process
        for piece, weight in zip(bucket.pieces, weights, strict=True):
            received = piece.view(sent)
            assert received.dtype == weight.dtype
            assert torch.equal(received, weight)


def test_nothing_to_send_is_no_bucket() -> None:
    assert plan_buckets([], BUCKET_BYTES) == []
