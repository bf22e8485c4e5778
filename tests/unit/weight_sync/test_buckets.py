"""Tests of weight_sync.buckets: no parameter is lost, truncated or misplaced."""

import torch

from weight_sync.buckets import Bucket, plan_buckets

PARAMETERS = [
    ("odd", torch.bfloat16, (3, 5)),  # 30 bytes, so the next parameter needs alignment
    ("single", torch.float32, ()),
    ("matrix", torch.float32, (8, 16)),  # 512 bytes, the size of a bucket
    ("huge", torch.float32, (100, 10)),  # 4000 bytes
    ("empty", torch.float32, (0, 4)),
    ("half", torch.float16, (7,)),
]
BUCKET_BYTES = 512


def _plan() -> list[Bucket]:
    return plan_buckets(PARAMETERS, BUCKET_BYTES)


def test_buckets_hold_all_parameters_in_order_and_only_a_huge_parameter_exceeds_the_size() -> None:
    names = [[entry.name for entry in bucket.entries] for bucket in _plan()]
    assert names == [["odd", "single"], ["matrix"], ["huge"], ["empty", "half"]]
    assert [bucket.num_bytes for bucket in _plan()] == [68, 512, 4000, 14]


def test_a_sent_bucket_gives_back_its_parameters() -> None:
    for bucket in _plan():
        memory = torch.zeros(bucket.num_bytes, dtype=torch.uint8)
        weights = [torch.randn(entry.shape).to(entry.dtype) for entry in bucket.entries]
        for entry, weight in zip(bucket.entries, weights, strict=True):
            entry.view(memory).copy_(weight)
        sent = memory.clone()  # its addresses differ, as in another process
        for entry, weight in zip(bucket.entries, weights, strict=True):
            received = entry.view(sent)
            assert received.dtype == weight.dtype
            assert torch.equal(received, weight)


def test_no_parameters_give_no_bucket() -> None:
    assert plan_buckets([], BUCKET_BYTES) == []
