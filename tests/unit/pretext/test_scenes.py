"""`pretext.scenes`: scenes are drawn once, change in one direction, and show every anomaly."""

from pathlib import Path

import numpy as np
import pytest

from pretext import scenes
from pretext.randomness import generator
from pretext.scenes import draw_scene, draw_videos
from pretext.tasks.perturb import mirror, rotate_180, swap_channels, zoom_out
from pretext.video import probe, read_frames
from pretext.video.frames import FrameSpec, sample_video


def test_videos_are_real_files_sampled_half_a_second_apart(tmp_path: Path, small: FrameSpec) -> None:
    paths = draw_videos(tmp_path / "new" / "set", count=3, seed=4)
    assert [path.name for path in paths] == ["00000.mp4", "00001.mp4", "00002.mp4"]
    for number, path in enumerate(paths):
        video = sample_video(probe(path), small)
        indices = video.indices
        np.testing.assert_allclose(np.diff(video.times_s), 0.5, atol=1e-3)
        drawn = draw_scene(generator(4, "scene", number), num_frames=80, size_px=64)[indices]
        read = read_frames(path, indices, height_px=64, width_px=64)
        assert np.abs(read.astype(int) - drawn).mean() < 4.0


def test_a_complete_set_is_kept_and_an_unfinished_one_is_drawn_again(tmp_path: Path) -> None:
    paths = draw_videos(tmp_path, count=2, seed=4, num_frames=10)
    content, stamps = [path.read_bytes() for path in paths], [path.stat().st_mtime_ns for path in paths]
    draw_videos(tmp_path, count=2, seed=4, num_frames=10)
    assert [path.stat().st_mtime_ns for path in paths] == stamps
    paths[1].unlink()
    draw_videos(tmp_path, count=2, seed=4, num_frames=10)
    assert [path.read_bytes() for path in paths] == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.mp4", "00001.mp4", "scenes.json"]
    with pytest.raises(ValueError, match="Use another folder"):
        draw_videos(tmp_path, count=2, seed=5, num_frames=10)
    with pytest.raises(ValueError, match="size_px=63"):
        draw_videos(tmp_path, count=2, seed=4, size_px=63)


def test_each_scene_always_moves_in_one_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the ground rises in the first column, or the sun's centre sinks, by at least a pixel in 0.5 s."""
    monkeypatch.setattr(scenes, "_NOISE_SIGMA", 0.0)
    kinds = set()
    for number in range(40):
        frames = draw_scene(generator(0, "scene", number), num_frames=8, size_px=64).astype(int)
        ground = (frames[:, :, 0] == frames[:, 63:, 0]).all(-1).sum(1)
        suns = [np.argwhere((frame[..., 0] > 200) & (frame[..., 2] < 120)) for frame in frames]
        assert all(len(sun) > 10 and sun[:, 1].max() < 32 for sun in suns)
        way = ground if np.ptp(ground) else np.array([sun[:, 0].mean() for sun in suns])
        kinds.add(bool(np.ptp(ground)))
        assert (np.diff(way) >= 1).all()
    assert kinds == {True, False}


def test_every_anomaly_shows_in_every_frame() -> None:
    for number in range(40):
        frames = draw_scene(generator(0, "scene", number), num_frames=8, size_px=64)
        altered = [mirror(frames), rotate_180(frames), zoom_out(frames, slice(0, 8), 4 / 3)]
        altered += [swap_channels(frames, order) for order in [(0, 2, 1), (1, 0, 2), (2, 1, 0)]]
        for other in altered:
            distance = np.abs(other.astype(int) - frames).mean((1, 2, 3))
            assert (distance > 6.0).all()
