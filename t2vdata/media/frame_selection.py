"""Choose the frames of a ``ClipRequest`` from a stream of frames with their times, and convert them to its size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020, frame_matching
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.deinterlacing import deinterlaced
from t2vdata.media.display_geometry import SQUARE
from t2vdata.media.frame_times import rounding_seconds, tolerance_seconds
from t2vdata.media.geometry import crop_or_pad, scaled_size
from t2vdata.media.rgb import RgbConverter
from t2vdata.media.timed_frames import TimedFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SpanFrames:
    """The frames of a span."""

    data: Array
    """(T, H, W, 3) uint8."""
    fps: float
    original: dict[str, Any]
    """Height and width of the file as it is shown, its rate and codec, whether it is HDR, and the ratio of its pixels."""
    greys: list[Array]
    """The same frames in grey and larger, if they are to be matched; a repeated frame is the same object."""
    edges: tuple[float, ...]
    """When each frame begins to be shown, from the file's first frame, and when the last one ends."""
    seconds: float
    """Length of the span, if it was read to its end."""


def select_frames(timed_frames: Iterator[TimedFrame], request: ClipRequest, *, max_pixels: int) -> SpanFrames:
    """Return the frames of the span at the requested rate and size.

    Raises DecodeError if the span has no frame, or more than ``max_pixels`` pixels.
    """
    import numpy as np

    start, end = request.start_seconds or 0.0, math.inf if request.end_seconds is None else request.end_seconds
    selection = _Selection(request, start, end, max_pixels)
    last: TimedFrame | None = None
    if request.deinterlaces:
        timed_frames = deinterlaced(timed_frames)
    for last in timed_frames:
        selection.consider(last)
        has_end = selection.has_start and last.end_seconds >= end
        if has_end or (selection.is_full and not request.measures_seconds):
            break
    if last is None:
        raise DecodeError("no frame decodes")
    selection.finish()
    if not selection.frames:
        raise DecodeError(f"no frame from {start:g} s on: the file ends at {round(last.end_seconds, 3):g} s")
    read_end = min(end, last.end_seconds)
    # If no frame was wanted after it, a sample counts until the next one would be taken, whatever its frame lasts.
    last_end = min(selection.end_seconds, end if selection.is_full else read_end)
    return SpanFrames(
        np.stack(selection.frames),
        request.fps or last.file.fps,
        selection.original,
        selection.greys,
        (*selection.starts, max(last_end, selection.starts[-1])),
        read_end - start,
    )


class _Selection:
    """The frames selected so far, as pixels of the final size."""

    def __init__(self, request: ClipRequest, start: float, end: float, max_pixels: int) -> None:
        self.frames: list[Array] = []
        self.starts: list[float] = []
        """When each frame begins to be shown, in seconds."""
        self.end_seconds = 0.0
        """When the last one ends."""
        self.greys: list[Array] = []
        self.original: dict[str, Any] = {}
        self._request, self._start, self._end = request, start, end
        self._max_pixels = max_pixels
        self._enough = math.inf if request.needs_whole_span or request.num_frames is None else request.num_frames
        self._converter = RgbConverter()
        self._last: tuple[TimedFrame, Array, Array | None] | None = None
        self._shown: TimedFrame | None = None
        """The frame shown at the start of the span."""
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self.frames) >= self._enough

    @property
    def has_start(self) -> bool:
        """Whether the frame shown at the start of the span was considered."""
        return self._shown is not None

    def consider(self, timed: TimedFrame) -> None:
        """Take the next frame of the file, as often as the request asks for it."""
        self._note_original(timed)
        if self._shown is None and timed.outlasts(self._start):
            self._shown = timed
        if self._request.fps is not None:
            self._add_samples(timed, self._request.fps)
        elif timed.begins_before(self._end) and not timed.begins_before(self._start) and not self.is_full:
            self._add(timed, timed.seconds, timed.end_seconds)

    def finish(self) -> None:
        """Take the frame shown at the start of the span if the span lies within it."""
        if not self.frames and self._shown is not None:
            self._add(self._shown, self._start, self._shown.end_seconds)

    def _note_original(self, timed: TimedFrame) -> None:
        """Record what the file is, from its first frame."""
        if self.original:
            return
        geometry = timed.geometry
        self.original = {"height": geometry.height, "width": geometry.width, "fps": timed.file.fps, "codec": timed.file.codec}
        self.original["hdr"] = bt2020.is_hdr(timed.frame)
        if geometry.pixel_ratio != SQUARE:
            self.original["pixel_ratio"] = f"{geometry.pixel_ratio.numerator}:{geometry.pixel_ratio.denominator}"

    def _add_samples(self, timed: TimedFrame, fps: float) -> None:
        """Add a frame for every time of the requested rate at which it is shown."""
        tolerance = tolerance_seconds(1 / fps, rounding_seconds(timed.file.tick_seconds))
        while not self.is_full:
            time = self._start + len(self.frames) / fps
            if (self.frames and time + tolerance >= self._end) or not timed.outlasts(time):
                return
            self._add(timed, time, time + 1 / fps)

    def _add(self, timed: TimedFrame, seconds: float, end_seconds: float) -> None:
        """Add a frame; the same frame may be added again."""
        if self._last is None or self._last[0] is not timed:
            pixels = self._pixels_of(timed)
            grey = self._grey_of(timed) if self._request.counts_matches else None
            self._last = (timed, pixels, grey)
            # A repeated grey frame is the same object.
            self._bytes += 0 if grey is None else grey.size
        _, pixels, grey = self._last
        self.frames.append(pixels)
        self.starts.append(seconds)
        self.end_seconds = end_seconds
        if grey is not None:
            self.greys.append(grey)
        self._bytes += pixels.size
        if self._bytes > 3 * self._max_pixels:
            raise DecodeError(f"over {self._max_pixels} pixels in one {_limit_hint(self._request)}")

    def _pixels_of(self, timed: TimedFrame) -> Array:
        geometry, request = timed.geometry, self._request
        height, width = scaled_size(geometry.height, geometry.width, request.size, request.resize)
        if geometry.orientation.is_transposed:
            height, width = width, height
        pixels = self._converter.rgb(timed.frame, height, width)
        return crop_or_pad(geometry.orientation.upright(pixels[None])[0], request.size, request.resize)

    def _grey_of(self, timed: TimedFrame) -> Array:
        height, width = scaled_size(timed.geometry.coded_height, timed.geometry.square_width, frame_matching.SIDE)
        return self._converter.grey(timed.frame, height, width)


def _limit_hint(request: ClipRequest) -> str:
    """Return what has too many pixels, and how to get fewer."""
    hint = "clip; use --frames, " if request.num_frames is None else "clip; use fewer --frames, "
    if request.num_frames is not None and request.needs_whole_span:
        hint = "span, all of which is read before frames are chosen; use "
    # At 64x64, a minute of 340x256 at 25 fps has 6 million pixels, and its larger grey frames take the bytes of 38 million.
    return f"{hint}a smaller --size, {'no --min-matches, ' if request.counts_matches else ''}or a shorter span"
