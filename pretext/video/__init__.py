"""Video files to frames with their real presentation times.

- `sources`: finding and opening files, by path or URL
- `info`: what is known of a video; the base class of an open one; VideoError and Skipped
- `pyav_reader`, `decord_reader`: the two readers
- `reader`: `open_video`, `probe` and `read_frames`, for either
- `frames`: which frames are sampled, and at which size
- `frame_stats`: how much colour, symmetry and motion they have
- `inspect_video`: all of this for one video, before any sample is made; `dataset.sandbox` calls it
- `cache`: decoded frames, kept for the next sample of a video

Both readers number frames in order of presentation, apply the rotation that the file asks for and convert colours
almost alike, so an index means the same frame in either. Pixels are taken to be square. If a file has several video
streams, FFmpeg's "best" one is read. Nothing here imports the pretext tasks.
"""

from pretext.video.info import Reader, Video, VideoError, VideoInfo
from pretext.video.reader import open_video, probe, read_frames

__all__ = ["Reader", "Video", "VideoError", "VideoInfo", "open_video", "probe", "read_frames"]
