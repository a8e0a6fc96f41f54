"""Video files through PyAV, which brings its own FFmpeg."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from t2vdata.errors import DecodeError

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# Pixels of a whole clip: 90 frames of 4K are 750 million.
MAX_PIXELS = 1 << 30


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames that really decode are shown."""

    pts: tuple[int, ...]
    key_frames: tuple[bool, ...]
    time_base: str


def decode(data: bytes, *, channels: int) -> NDArray[np.uint8]:
    """Return all frames of a video, (T, H, W, channels) uint8, in the order in which they are shown.

    Grey (``channels=1``) is the luma plane, spread from limited to full range. Raises DecodeError for bytes that do not
    decode to their end.
    """
    import numpy as np

    picture = _grey if channels == 1 else _rgb
    with _frames(data) as frames:
        pictures = [picture(frame) for frame in frames]
    if not pictures:
        raise DecodeError("no frame decodes")
    return np.stack(pictures).reshape(len(pictures), *pictures[0].shape[:2], channels)


def read_timing(data: bytes) -> Timing:
    """Decode a video for what the index says of it: a time stamp and key-frame flag for each frame that decodes."""
    pts: list[int] = []
    key_frames: list[bool] = []
    time_base = "1/1"
    with _frames(data) as frames:
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                raise DecodeError(f"frame {len(pts)} has no time stamp")
            pts.append(frame.pts)
            key_frames.append(bool(frame.key_frame))
            time_base = f"{frame.time_base.numerator}/{frame.time_base.denominator}"
    return Timing(tuple(pts), tuple(key_frames), time_base)


@contextmanager
def _frames(data: bytes) -> Iterator[Iterator[av.VideoFrame]]:
    import av

    try:
        # mov is the demuxer of mp4: naming it keeps FFmpeg from taking the bytes for a playlist that opens other files.
        with av.open(io.BytesIO(data), "r", format="mov", metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeError("no video stream")
            stream = container.streams.video[0]
            # One thread: for a small clip, starting more costs longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            yield _bounded(container.decode(stream), stream.frames)
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def _bounded(frames: Iterator[av.VideoFrame], promised: int) -> Iterator[av.VideoFrame]:
    """Yield frames within the limits; raise at the end when there were fewer than the file's index promised."""
    pixels = count = 0
    for frame in frames:
        count += 1
        pixels += frame.width * frame.height
        if pixels > MAX_PIXELS:
            raise DecodeError(f"over {MAX_PIXELS} pixels in one clip")
        yield frame
    if count < promised:
        raise DecodeError(f"ends after {count} of {promised} frames")


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))


def _grey(frame: av.VideoFrame) -> NDArray[np.uint8]:
    import numpy as np

    if frame.format.name != "yuv420p":
        return cast("NDArray[np.uint8]", frame.to_ndarray(format="gray"))
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
    spread = ((luma.astype(np.int32) - 16) * 255 + 109) // 219
    return spread.clip(0, 255).astype(np.uint8)
