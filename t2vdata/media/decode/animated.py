"""Animated pictures as videos: WebP, PNG and AVIF, which Pillow decodes, for ``open_video`` with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media import animation
from t2vdata.media.decode.probe import MAX_PIXELS
from t2vdata.media.decode.video import Video, VideoInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def open(source: bytes | str, kind: str) -> Video:
    """Open an animated picture of this format. Decodes it once, as all videos are, to learn which frames decode."""
    starts, size, end = [], (0, 0), 0.0
    for start, end, pixels in animation.frames(source, kind, max_pixels=MAX_PIXELS):  # noqa: B007  # the last end is used
        starts.append(start)
        size = pixels.shape[0], pixels.shape[1]
    info = VideoInfo(tuple(starts), *size, len(starts) / end, end, animation.TICK_SECONDS)
    return Video(_Reader(source, kind), info, backend="pillow", device="cpu")


class _Reader:
    """Decodes from the first frame on each request: few of these files have a frame that needs no other."""

    def __init__(self, source: bytes | str, kind: str) -> None:
        self._source, self._kind = source, kind

    def frames_at(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        import numpy as np

        requested, frames = set(indices), {}
        for index, frame in enumerate(animation.frames(self._source, self._kind, max_pixels=MAX_PIXELS)):
            if index in requested:
                frames[index] = frame.pixels
            if len(frames) == len(requested):
                return np.stack([frames[index] for index in indices])
        raise DecodeError("a frame did not decode again; the file has changed since it was opened")

    def close(self) -> None:
        """Do nothing: no file stays open."""
