"""`pretext.tasks.perturb`: each anomaly does what its name says, and the input is left alone."""

import numpy as np
import pytest

from pretext.recipe import Frames
from pretext.tasks.perturb import mirror, rotate_180, swap_channels, zoom_out


@pytest.fixture
def frames() -> Frames:
    return np.random.default_rng(0).integers(1, 256, (3, 40, 60, 3)).astype(np.uint8)


def test_channels_are_exchanged(frames: Frames) -> None:
    swapped = swap_channels(frames, (2, 1, 0))
    np.testing.assert_array_equal(swapped[..., 0], frames[..., 2])
    np.testing.assert_array_equal(swapped[..., 1], frames[..., 1])


def test_mirror_and_rotation_undo_themselves(frames: Frames) -> None:
    np.testing.assert_array_equal(mirror(frames)[:, :, 0], frames[:, :, 59])
    np.testing.assert_array_equal(rotate_180(frames)[:, 0, 0], frames[:, 39, 59])
    for twice in (mirror(mirror(frames)), rotate_180(rotate_180(frames))):
        np.testing.assert_array_equal(twice, frames)


def test_zoom_out_shrinks_about_the_centre_with_a_black_border(frames: Frames) -> None:
    zoomed = zoom_out(frames, 0.5)
    assert zoomed.shape == frames.shape
    inside = zoomed[:, 10:30, 15:45].astype(int)
    assert (inside > 0).all()
    assert zoomed.astype(int).sum() == inside.sum()
    blocks = frames.reshape(3, 20, 2, 30, 2, 3).mean((2, 4))
    np.testing.assert_allclose(inside, blocks, atol=0.51)
