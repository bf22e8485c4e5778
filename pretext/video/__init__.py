"""Video files to frames with their real presentation times.

- `sources`: finding and opening files, by path or URL
- `info`: facts about a video; the base class of an open video; VideoError and Skipped
- `pyav_reader`, `decord_reader`: the two readers
- `reader`: `open_video`, `probe` and `read_frames`, with either reader
- `frames`: which frames are sampled, and at which size
- `frame_stats`: colour, symmetry and motion of frames
- `inspect_video`: sampling and measuring the frames of a video before samples are made; `dataset.sandbox` calls it
- `cache`: decoded frames, kept for the next sample of a video

Both readers number frames in order of presentation, apply the rotation that the file asks for and convert colours
almost alike, so an index means the same frame in either. Pixels are taken to be square. If a file has several video
streams, FFmpeg's "best" one is read. Nothing here imports the pretext tasks.
"""

from pretext.video.info import Reader, Video, VideoError, VideoInfo
from pretext.video.reader import open_video, probe, read_frames

__all__ = ["Reader", "Video", "VideoError", "VideoInfo", "open_video", "probe", "read_frames"]
