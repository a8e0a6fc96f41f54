"""Choose the frames of a ``ClipRequest`` from a stream of frames with their times, and convert them to its size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media import frame_matching
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import probe as probing
from t2vdata.media.geometry import crop_or_pad, scaled_size
from t2vdata.media.timed_frames import TimedFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# Containers round their time stamps.
_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class SpanFrames:
    """The frames of a span."""

    data: Array
    """(T, H, W, 3) uint8."""
    fps: float
    original: dict[str, Any]
    """Height, width, rate and codec of the file, and whether it is HDR."""
    greys: list[Array]
    """The same frames in grey and larger, if they are to be matched; a repeated frame is the same object."""
    seconds: float
    """Length of the span, if it was read to its end."""


def select_frames(timed_frames: Iterator[TimedFrame], request: ClipRequest, *, max_pixels: int) -> SpanFrames:
    """Return the frames of the span at the requested rate and size.

    Raises DecodeError if the span has no frame, or more than ``max_pixels`` pixels.
    """
    import numpy as np

    start, end = request.start_seconds or 0.0, _end_seconds(request)
    selection = _Selection(request, max_pixels)
    previous: TimedFrame | None = None
    for current in timed_frames:
        selection.note_original(current)
        if request.fps is None:
            if start - _ROUNDING_SECONDS <= current.seconds < end and not selection.is_full:
                selection.add(current)
        elif previous is not None:
            selection.add_until(current.seconds, previous, start)
        previous = current
        if current.seconds >= end or (selection.is_full and not request.measures_seconds):
            break
    else:
        if previous is not None and request.fps is not None:
            selection.add_until(previous.seconds + 1 / previous.fps, previous, start)
    if previous is None:
        raise DecodeError("no frame decodes")
    if not selection.frames:
        raise DecodeError(f"no frame from {start:g} s on: the file ends at {previous.seconds + 1 / previous.fps:.3g} s")
    seconds = min(end, previous.seconds + 1 / previous.fps) - start
    fps = request.fps or previous.fps
    return SpanFrames(np.stack(selection.frames), fps, selection.original, selection.greys, seconds)


def _end_seconds(request: ClipRequest) -> float:
    return math.inf if request.end_seconds is None else request.end_seconds


class _Selection:
    """The frames selected so far, as pixels of the final size."""

    def __init__(self, request: ClipRequest, max_pixels: int) -> None:
        from av.video.reformatter import VideoReformatter

        self.frames: list[Array] = []
        self.greys: list[Array] = []
        self.original: dict[str, Any] = {}
        self._request = request
        self._max_pixels = max_pixels
        self._enough = math.inf if request.needs_whole_span or request.num_frames is None else request.num_frames
        self._reformatter = VideoReformatter()
        self._last: tuple[TimedFrame, Array, Array | None] | None = None
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self.frames) >= self._enough

    def note_original(self, timed: TimedFrame) -> None:
        """Record what the file is, from its first frame."""
        if self.original:
            return
        frame = timed.frame
        height, width = (frame.width, frame.height) if timed.turns % 2 else (frame.height, frame.width)
        self.original = {"height": height, "width": width, "fps": timed.fps, "codec": timed.codec}
        self.original["hdr"] = probing.is_hdr(frame)

    def add_until(self, until_seconds: float, timed: TimedFrame, start_seconds: float) -> None:
        """Add a frame for every time of the requested rate that comes before ``until_seconds``."""
        fps, end = self._request.fps or 1.0, _end_seconds(self._request)
        while not self.is_full:
            time = start_seconds + len(self.frames) / fps
            if time + _ROUNDING_SECONDS >= until_seconds or time + _ROUNDING_SECONDS >= end:
                return
            self.add(timed)

    def add(self, timed: TimedFrame) -> None:
        """Add a frame; the same frame may be added again."""
        if self._last is None or self._last[0] is not timed:
            pixels = self._pixels_of(timed)
            grey = self._grey_of(timed) if self._request.counts_matches else None
            self._last = (timed, pixels, grey)
            # A repeated grey frame is the same object.
            self._bytes += 0 if grey is None else grey.size
        _, pixels, grey = self._last
        self.frames.append(pixels)
        if grey is not None:
            self.greys.append(grey)
        self._bytes += pixels.size
        if self._bytes > 3 * self._max_pixels:
            raise DecodeError(f"over {self._max_pixels} pixels in one {_limit_hint(self._request)}")

    def _pixels_of(self, timed: TimedFrame) -> Array:
        import numpy as np

        frame, request = timed.frame, self._request
        if frame.width * frame.height != self.original["width"] * self.original["height"]:
            raise DecodeError("the size changes within the file")
        height, width = scaled_size(self.original["height"], self.original["width"], request.size, request.resize)
        if timed.turns % 2:
            height, width = width, height
        # Bicubic is FFmpeg's default. The range is passed on, as PyAV would assume the limited one.
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="BICUBIC", src_color_range=frame.color_range or None, threads=1
        )
        return crop_or_pad(np.rot90(rgb.to_ndarray(), timed.turns), request.size, request.resize)

    def _grey_of(self, timed: TimedFrame) -> Array:
        height, width = scaled_size(timed.frame.height, timed.frame.width, frame_matching.SIDE)
        grey = self._reformatter.reformat(timed.frame, width, height, "gray", interpolation="AREA", threads=1)
        pixels: Array = grey.to_ndarray()  # type: ignore[assignment]
        return pixels


def _limit_hint(request: ClipRequest) -> str:
    """Return what has too many pixels, and how to get fewer."""
    hint = "clip; use --frames, " if request.num_frames is None else "clip; use fewer --frames, "
    if request.num_frames is not None and request.needs_whole_span:
        hint = "span, all of which is read before frames are chosen; use "
    # At 64x64, a minute of 340x256 at 25 fps has 6 million pixels, and its larger grey frames take the bytes of 38 million.
    return f"{hint}a smaller --size, {'no --min-matches, ' if request.counts_matches else ''}or a shorter span"
