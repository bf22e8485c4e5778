"""Looking at a video before samples are made of it."""

from dataclasses import replace

from pretext.video import open_video
from pretext.video.frame_stats import look_at
from pretext.video.frames import FrameSpec, SampledVideo, sample_video

_SMALLER = 4  # times: traits are rough, and all videos pass through here


def inspect(path: str, spec: FrameSpec) -> SampledVideo:
    """The frames that samples will be made from, each decoded once, and what they look like.

    Raises VideoError where the file is no video, is cut off, has too few frames, or one of them is damaged.
    """
    with open_video(path, spec.reader, rough=True) as opened:
        video = sample_video(opened.info, spec)
        height_px, width_px = (max(8, side // _SMALLER) for side in (video.height_px, video.width_px))
        frames = opened.read(video.indices, height_px=height_px, width_px=width_px)
    return replace(video, traits=look_at(frames))
