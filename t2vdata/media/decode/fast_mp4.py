"""Decode the MP4 files that ``build`` writes, without opening a container for each.

Opening takes a third of the time to decode a clip of 64x64 pixels: demuxer, probing, a new decoder. The files of ``build`` need
none of this: their tables locate each packet, frames come out in the order in which packets go in, and clips of one shape share
their codec settings, so one decoder per thread serves them all. Colours are converted for many frames in one call. Any other
file is left to ``pyav``.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media.color import BT601, LIMITED_RANGE, full_range
from t2vdata.media.decode.mp4 import Packets, begins_with_idr, find_packets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# Open decoders per thread; each holds a few frames of memory.
_MAX_OPEN = 8
# Pixels of one clip: 90 frames of 4K have 750 million.
MAX_PIXELS = 1 << 30
# Pixels converted in one call: 3 MB of planes and RGB.
_MAX_TALL_PIXELS = 1 << 20


def decode(
    data: bytes, frames: Sequence[int] | None, *, channels: int, out: Array | None = None, max_pixels: int | None = None
) -> Array | None:
    """Decode frames of an MP4 file that ``build`` wrote, (T, H, W, channels) uint8; return None for any other file.

    ``frames`` are numbers in any order, repeats allowed; None means all. They are written to ``out`` if it is contiguous and
    has their shape, else to new memory. Raises DecodeError for a file of ``build`` that does not decode, and
    before it makes pixels of a file that has more than ``max_pixels``.
    """
    packets = find_packets(data)
    if packets is None:
        return None
    numbers = range(len(packets.sizes)) if frames is None else frames
    if any(not 0 <= number < len(packets.sizes) for number in numbers):
        raise DecodeError(f"no frame {max(numbers)}: the file has {len(packets.sizes)}")
    row_of = {number: row for row, number in enumerate(dict.fromkeys(numbers))}
    runs = list(_runs(packets, row_of))
    if not all(begins_with_idr(data, packets.offsets[run.start]) for run in runs if run.start):
        return None
    has_repeats = len(row_of) < len(numbers)
    pixels = _Pixels(len(row_of), channels, None if has_repeats else out)
    for number, frame in _decoded(data, packets, runs):
        if number in row_of:
            if not _has_our_format(frame):
                return None
            if max_pixels is not None and frame.width * frame.height * len(packets.sizes) > max_pixels:
                size = f"{len(packets.sizes)} frames of {frame.width}x{frame.height} pixels"
                raise DecodeError(f"{size}; the index says {max_pixels} pixels")
            pixels.put(row_of[number], frame)
    return _repeated(pixels.done(), [row_of[number] for number in numbers], out) if has_repeats else pixels.done()


def _repeated(pixels: Array, rows: Sequence[int], out: Array | None) -> Array:
    import numpy as np

    fits = out is not None and out.shape == (len(rows), *pixels.shape[1:])
    result: Array = np.take(pixels, rows, axis=0, out=out if fits else None)
    return result


class _Pixels:
    """Converts decoded planes to pixels, as many frames at a time as fit a processor's cache.

    Planes are stacked vertically, so that one call converts them as one tall picture. Each 2x2 block has its own chroma: no
    frame bleeds into the next, and pixels equal those of ``pyav``.
    """

    def __init__(self, count: int, channels: int, out: Array | None) -> None:
        self._count, self._channels, self._out = count, channels, out
        self._shape = (0, 0)
        self._pending: dict[int, int] = {}

    def put(self, row: int, frame: Any) -> None:
        """Add the next frame, for one row of the result."""
        import numpy as np

        shape = (frame.height, frame.width)
        if not self._shape[0]:
            self._begin(shape)
        if shape != self._shape:
            raise DecodeError(f"a frame is {shape[1]}x{shape[0]}, the first {self._shape[1]}x{self._shape[0]}")
        for view, plane in zip(self._views[len(self._pending)], frame.planes, strict=True):
            # NumPy's fastest access to a plane's memory; this line runs a hundred times for a small clip.
            view[...] = np.ndarray(view.shape, np.uint8, plane, 0, (plane.line_size, 1))
        self._pending[row] = len(self._pending)
        if len(self._pending) == self._num_stacked:
            self._convert()

    def done(self) -> Array:
        """Return all frames: (T, H, W, channels)."""
        if not self._shape[0]:
            raise DecodeError("no frame decodes")
        self._convert()
        return self._result

    def _begin(self, shape: tuple[int, int]) -> None:
        import numpy as np

        height, width = self._shape = shape
        if self._count * height * width > MAX_PIXELS:
            raise DecodeError(f"{self._count} frames of {width}x{height}, over the limit of {MAX_PIXELS} pixels")
        num_stacked = max(1, min(self._count, _MAX_TALL_PIXELS // (height * width)))
        # The height of a tall picture must be a multiple of 4 for PyAV.
        self._num_stacked = num_stacked + num_stacked % 2 if height % 4 else num_stacked
        result_shape = (self._count, height, width, self._channels)
        fits = self._out is not None and self._out.shape == result_shape and self._out.flags.c_contiguous
        self._result: Array = self._out if fits and self._out is not None else np.empty(result_shape, np.uint8)
        self._tall = np.empty((self._num_stacked * height * 3 // 2, width), np.uint8)
        self._planes = _planes(self._tall, self._num_stacked, height, width)
        self._views = list(zip(*self._planes, strict=True))

    def _convert(self) -> None:
        if not self._pending:
            return
        pixels = self._rgb() if self._channels == 3 else _full_range_levels()[self._planes[0]][..., None]
        rows = list(self._pending)
        if rows == list(range(rows[0], rows[0] + len(rows))):
            self._result[rows[0] : rows[-1] + 1] = pixels[: len(rows)]
        else:
            self._result[rows] = pixels[: len(rows)]
        self._pending.clear()

    def _rgb(self) -> Array:
        import av

        height, width = self._shape
        tall = av.VideoFrame.from_numpy_buffer(self._tall, format="yuv420p")
        tall.color_range, tall.colorspace = LIMITED_RANGE, BT601
        # One thread: starting more costs more than it saves.
        plane = tall.reformat(format="rgb24", threads=1).planes[0]
        return _lines(plane)[:, : width * 3].reshape(self._num_stacked, height, width, 3)


def _decoded(data: bytes, packets: Packets, runs: Sequence[range]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) of the frames of ``runs``."""
    import av

    context = _take_decoder(packets.settings)
    sent = [frame for run in runs for frame in run]
    numbers = iter(sent)
    try:
        for frame in sent:
            offset, size = packets.offsets[frame], packets.sizes[frame]
            for picture in context.decode(av.Packet(data[offset : offset + size])):
                yield _checked(next(numbers), picture)
        remaining = list(numbers)
        if remaining:
            for number, picture in zip(remaining, context.decode(None), strict=True):
                yield _checked(number, picture)
    except (av.FFmpegError, ValueError, StopIteration) as error:
        raise DecodeError(f"{getattr(error, 'strerror', None) or error} (FFmpeg)") from error
    _give_back(packets.settings, context)


def _checked(number: int, picture: Any) -> tuple[int, Any]:
    if picture.is_corrupt:
        raise DecodeError(f"frame {number} is damaged")
    return number, picture


def _runs(packets: Packets, row_of: dict[int, int]) -> Iterator[range]:
    """Yield, for each group with frames in ``row_of``, the frames from its key frame to the last of those."""
    if len(row_of) == len(packets.sizes):
        yield range(len(packets.sizes))
        return
    ends = [*packets.key_frames[1:], len(packets.sizes)]
    for first, end in zip(packets.key_frames, ends, strict=True):
        last = max((frame for frame in range(first, end) if frame in row_of), default=None)
        if last is not None:
            yield range(first, last + 1)


_open = threading.local()


def _take_decoder(settings: bytes) -> Any:
    """Take this thread's decoder for these settings, or a new one. After an error it is not given back."""
    import av

    decoders: OrderedDict[bytes, Any] | None = getattr(_open, "decoders", None)
    if decoders is None:
        decoders = _open.decoders = OrderedDict()
    context = decoders.pop(settings, None)
    if context is None:
        context = av.CodecContext.create("h264", "r")
        context.extradata = settings
        # One thread: for a small clip, starting more takes longer than decoding it.
        context.thread_count, context.thread_type = 1, "NONE"
    else:
        context.flush_buffers()
    return context


def _give_back(settings: bytes, context: Any) -> None:
    _open.decoders[settings] = context
    if len(_open.decoders) > _MAX_OPEN:
        _open.decoders.popitem(last=False)


def _has_our_format(frame: Any) -> bool:
    """Return whether a frame has the size and colours that ``build`` writes."""
    is_even = frame.height % 2 == 0 and frame.width % 2 == 0
    is_limited_bt601 = frame.color_range == LIMITED_RANGE and frame.colorspace == BT601
    return bool(is_even and frame.format.name == "yuv420p" and is_limited_bt601)


def _planes(tall: Array, count: int, height: int, width: int) -> tuple[Array, Array, Array]:
    """Return views of a tall picture: Y (T, H, W), U and V (T, H/2, W/2)."""
    flat = tall.reshape(-1)
    luma, chroma = count * height * width, count * height * width // 4
    half = (count, height // 2, width // 2)
    ends = luma, luma + chroma
    return flat[:luma].reshape(count, height, width), flat[luma : ends[1]].reshape(half), flat[ends[1] :].reshape(half)


def _lines(plane: Any) -> Array:
    """Return a plane's memory by lines, including FFmpeg's padding after each line."""
    import numpy as np

    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


@functools.cache
def _full_range_levels() -> Array:
    import numpy as np

    return full_range(np.arange(256))
