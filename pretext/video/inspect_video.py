"""Inspecting a video before samples are made from it."""

from dataclasses import replace

# Both readers are imported here, so that a sandbox has loaded the decoders before it starts its clock.
from pretext.video import decord_reader, pyav_reader  # noqa: F401
from pretext.video.frame_stats import measure_frames
from pretext.video.frames import FrameSpec, SampledVideo, sample_video
from pretext.video.reader import open_video

_STATS_SCALE_DOWN = 4  # statistics of smaller frames are accurate enough, and faster
_MIN_SIDE_PX = 8


def inspect(path: str, spec: FrameSpec) -> SampledVideo:
    """Choose the frames that samples will be made from, decode each once, and measure them.

    Raises VideoError if the file is no video, is cut off, has too few frames, or one of them is damaged.
    """
    with open_video(path, spec.reader, rough=True) as opened:
        video = sample_video(opened.info, spec)
        height_px, width_px = (
            max(_MIN_SIDE_PX, side // _STATS_SCALE_DOWN) for side in (video.height_px, video.width_px)
        )
        frames = opened.read(video.indices, height_px=height_px, width_px=width_px)
    return replace(video, frame_stats=measure_frames(frames))
