"""Looking at a video before samples are made of it."""

from dataclasses import replace

from pretext.frames import FrameSpec, SampledVideo, sample_video
from pretext.traits import look_at
from pretext.video import open_video


def inspect(path: str, spec: FrameSpec) -> SampledVideo:
    """The frames that samples will be made from, each decoded once, and what they look like.

    Raises VideoError where the file is no video, is cut off, has too few frames, or one of them is damaged.
    """
    with open_video(path, spec.reader) as opened:
        video = sample_video(opened.info, spec)
        frames = opened.read(video.indices, height_px=video.height_px, width_px=video.width_px)
    return replace(video, traits=look_at(frames))
