"""Looking at a video before samples are made of it."""

from dataclasses import replace

from pretext.frames import FrameSpec, SampledVideo, sample_video
from pretext.traits import look_at
from pretext.video import probe, read_frames


def inspect(path: str, spec: FrameSpec) -> SampledVideo:
    """The frames that samples will be made from, each decoded once, and what they look like.

    Raises VideoError where the file is no video, is cut off, has too few frames, or one of them is damaged.
    """
    video = sample_video(probe(path, spec.reader), spec)
    frames = read_frames(
        path, video.indices, height_px=video.height_px, width_px=video.width_px, reader=video.reader
    )
    return replace(video, traits=look_at(frames))
