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
from t2vdata.media.geometry import crop_or_pad, scaled_size
from t2vdata.media.rgb import RgbConverter
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
    """Height and width of the file as it is shown, its rate and codec, whether it is HDR, and the ratio of its pixels."""
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
    timed_frames = _until_size_changes(timed_frames)
    if request.deinterlaces:
        timed_frames = deinterlaced(timed_frames)
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


def _until_size_changes(timed_frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """Yield frames up to the first whose size, orientation or pixel ratio differs from those before: all else is damage."""
    geometry = None
    for timed in timed_frames:
        geometry = geometry or timed.geometry
        if timed.geometry != geometry:
            return
        yield timed


def _end_seconds(request: ClipRequest) -> float:
    return math.inf if request.end_seconds is None else request.end_seconds


class _Selection:
    """The frames selected so far, as pixels of the final size."""

    def __init__(self, request: ClipRequest, max_pixels: int) -> None:
        self.frames: list[Array] = []
        self.greys: list[Array] = []
        self.original: dict[str, Any] = {}
        self._request = request
        self._max_pixels = max_pixels
        self._enough = math.inf if request.needs_whole_span or request.num_frames is None else request.num_frames
        self._converter = RgbConverter()
        self._last: tuple[TimedFrame, Array, Array | None] | None = None
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self.frames) >= self._enough

    def note_original(self, timed: TimedFrame) -> None:
        """Record what the file is, from its first frame."""
        if self.original:
            return
        geometry = timed.geometry
        self.original = {"height": geometry.height, "width": geometry.width, "fps": timed.fps, "codec": timed.codec}
        self.original["hdr"] = bt2020.is_hdr(timed.frame)
        if geometry.pixel_ratio != SQUARE:
            self.original["pixel_ratio"] = f"{geometry.pixel_ratio.numerator}:{geometry.pixel_ratio.denominator}"

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
