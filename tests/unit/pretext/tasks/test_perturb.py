"""`pretext.tasks.perturb`: each anomaly does what its name says, and does not change its input."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from pretext.recipe import Frames
from pretext.tasks import perturb


@pytest.fixture
def frames() -> Iterator[Frames]:
    drawn = np.random.default_rng(0).integers(1, 256, (3, 40, 60, 3)).astype(np.uint8)
    before = drawn.copy()
    yield drawn
    np.testing.assert_array_equal(drawn, before)


def test_channels_are_exchanged(frames: Frames) -> None:
    swapped = perturb.swap_channels(frames, (2, 0, 1))
    for new, old in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(swapped[..., new], frames[..., old])


def test_anomalies_that_move_pixels_can_be_undone(frames: Frames) -> None:
    np.testing.assert_array_equal(perturb.mirror(frames)[:, :, 0], frames[:, :, 59])
    np.testing.assert_array_equal(perturb.rotate_180(frames)[:, 0, 0], frames[:, 39, 59])
    np.testing.assert_array_equal(perturb.invert(frames), 255 - frames)
    for once in (perturb.mirror, perturb.rotate_180, perturb.invert):
        np.testing.assert_array_equal(once(once(frames)), frames)


def test_quarter_turns_are_clockwise_on_the_middle_square(frames: Frames) -> None:
    square = perturb.crop_square(frames)
    np.testing.assert_array_equal(square, frames[:, :, 10:50])
    np.testing.assert_array_equal(perturb.crop_square(frames.transpose(0, 2, 1, 3)).shape, (3, 40, 40, 3))
    turned = perturb.rotate_quarter(square, 1)
    # The top left corner moves to the top right.
    np.testing.assert_array_equal(turned[:, 0, -1], square[:, 0, 0])
    np.testing.assert_array_equal(perturb.rotate_quarter(turned, 3), square)


def test_saturation_moves_colours_away_from_grey_of_the_same_brightness(frames: Frames) -> None:
    grey = perturb.saturate(frames, 0.0).astype(int)
    assert (np.ptp(grey, axis=-1) == 0).all()
    luma = frames @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey[..., 0], luma, atol=1.0)  # OpenCV computes in fixed point.
    expected = np.clip(luma[..., None] + 1.7 * (frames - luma[..., None]), 0, 255)
    np.testing.assert_allclose(perturb.saturate(frames, 1.7), expected, atol=1.0)
    np.testing.assert_array_equal(perturb.saturate(frames, 1.0), frames)


def test_blur_spreads_a_point_by_its_standard_deviation() -> None:
    point = np.zeros((1, 41, 41, 3), np.uint8)
    point[0, 16:25, 16:25] = 255
    blurred = perturb.blur(point, 2.0)[0, :, :, 0].astype(float)
    rows = np.arange(41) - 20.0
    variance = (blurred.sum(1) * rows**2).sum() / blurred.sum()
    assert variance == pytest.approx((9**2 - 1) / 12 + 2.0**2, rel=0.05)


def test_noise_is_gaussian_and_new_in_every_frame() -> None:
    flat = np.full((4, 100, 100, 3), 128, np.uint8)
    noise = perturb.add_noise(flat, 30.0, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.5
    assert noise.std() == pytest.approx(30.0, rel=0.02)
    assert (np.abs(noise) <= 30).mean() == pytest.approx(0.683, abs=0.015)
    pairs = np.corrcoef(noise.reshape(4, -1)) - np.eye(4)
    assert np.abs(pairs).max() < 0.02
    bright = perturb.add_noise(np.full((1, 50, 50, 3), 250, np.uint8), 60.0, np.random.default_rng(0))
    assert bright.max() == 255  # clipped, not wrapped around
    assert np.median(bright) >= 250


@pytest.mark.parametrize("factor", [1.2, 1.4, 2.0])
def test_zooming_out_shrinks_about_the_middle_with_a_black_border(frames: Frames, factor: float) -> None:
    zoomed = perturb.zoom_out(frames, slice(1, 2), factor)
    height, width = round(40 / factor), round(60 / factor)
    top, left = (40 - height) // 2, (60 - width) // 2
    inside = zoomed[1, top : top + height, left : left + width]
    assert (inside > 0).all()
    assert zoomed[1].astype(int).sum() == inside.astype(int).sum()
    np.testing.assert_array_equal(inside, cv2.resize(frames[1], (width, height)))
    _assert_through_the_smaller_grid(frames, zoomed, (width, height))


@pytest.mark.parametrize("factor", [1.3, 1.5, 2.0])
def test_zooming_in_enlarges_the_middle(frames: Frames, factor: float) -> None:
    zoomed = perturb.zoom_in(frames, slice(1, 2), factor)
    height, width = round(40 / factor), round(60 / factor)
    top, left = (40 - height) // 2, (60 - width) // 2
    middle = frames[1, top : top + height, left : left + width]
    np.testing.assert_array_equal(zoomed[1], cv2.resize(middle, (60, 40)))
    _assert_through_the_smaller_grid(frames, zoomed, (width, height))


def _assert_through_the_smaller_grid(frames: Frames, zoomed: Frames, size: tuple[int, int]) -> None:
    """Check the frames around the segment, [0] and [2]."""
    for number in (0, 2):
        np.testing.assert_array_equal(zoomed[number], cv2.resize(cv2.resize(frames[number], size), (60, 40)))
