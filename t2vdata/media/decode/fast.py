"""The mp4 files that ``build`` writes, decoded without opening a container for each.

A clip of 64x64 pixels spends a third of its time in opening: demuxer, probing, a new decoder. What ``build`` writes needs none
of it: the file's own tables say where each packet lies, frames come out in the order in which packets go in, and clips of one
shape share their codec settings, so one decoder per thread serves them all. Colours are converted for a whole clip in one call.
Any other file is left to ``pyav``.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode.mp4 import Packets, find_packets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# Decoders kept open in a thread, each with some frames of memory.
_MAX_OPEN = 8
# Pixels that are converted at once: 3 MB of planes and RGB.
_TALL_PIXELS = 1 << 20
# Of FFmpeg's AVColorRange and AVColorSpace: what `build` writes.
_LIMITED, _BT601 = 1, 6


def decode(data: bytes, frames: Sequence[int] | None, *, channels: int, out: Array | None = None) -> Array | None:
    """Return frames of an mp4 file, (T, H, W, channels) uint8, or None when the file is not one of ours.

    ``frames`` are numbers in any order, repeats allowed; None is all. They are written to ``out`` where that is contiguous and
    has their shape, else to memory of their own. Raises DecodeError for a file of ours that does not decode.
    """
    packets = find_packets(data)
    if packets is None:
        return None
    wanted = range(len(packets.sizes)) if frames is None else frames
    if any(not 0 <= frame < len(packets.sizes) for frame in wanted):
        raise DecodeError(f"no frame {max(wanted)}: the file has {len(packets.sizes)}")
    first = {frame: number for number, frame in enumerate(dict.fromkeys(wanted))}
    fits = out if len(first) == len(wanted) else None
    pixels = _Pixels(len(first), channels, fits)
    for number, frame in _decoded(data, packets, first):
        if number in first:
            if not _is_ours(frame):
                return None
            pixels.put(first[number], frame)
    return pixels.done() if len(first) == len(wanted) else _spread(pixels.done(), [first[frame] for frame in wanted], out)


def _spread(pixels: Array, rows: Sequence[int], out: Array | None) -> Array:
    import numpy as np

    fits = out is not None and out.shape == (len(rows), *pixels.shape[1:])
    result: Array = np.take(pixels, rows, axis=0, out=out if fits else None)
    return result


class _Pixels:
    """Frames on their way from planes to pixels, as many at a time as a processor's cache holds.

    Their planes are put one below the other, so that one call converts them as one tall picture. Chroma is that of each 2x2
    block: no frame bleeds into the next, and pixels are those of ``pyav``.
    """

    def __init__(self, count: int, channels: int, out: Array | None) -> None:
        self._count, self._channels, self._out = count, channels, out
        self._shape = (0, 0)
        self._waiting: dict[int, int] = {}

    def put(self, place: int, frame: Any) -> None:
        """Take the next frame, for a place in the result."""
        import numpy as np

        shape = (frame.height, frame.width)
        if not self._shape[0]:
            self._begin(shape)
        if shape != self._shape:
            raise DecodeError(f"a frame is {shape[1]}x{shape[0]}, the first {self._shape[1]}x{self._shape[0]}")
        for view, plane in zip(self._views[len(self._waiting)], frame.planes, strict=True):
            # The shortest way to a plane's memory that NumPy has; this line runs a hundred times for a small clip.
            view[...] = np.ndarray(view.shape, np.uint8, plane, 0, (plane.line_size, 1))
        self._waiting[place] = len(self._waiting)
        if len(self._waiting) == self._many:
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
        many = max(1, min(self._count, _TALL_PIXELS // (height * width)))
        # PyAV takes tall pictures for their height in multiples of 4.
        self._many = many + many % 2 if height % 4 else many
        whole = (self._count, height, width, self._channels)
        fits = self._out is not None and self._out.shape == whole and self._out.flags.c_contiguous
        self._result: Array = self._out if fits and self._out is not None else np.empty(whole, np.uint8)
        self._tall = np.empty((self._many * height * 3 // 2, width), np.uint8)
        self._planes = _planes(self._tall, self._many, height, width)
        self._views = list(zip(*self._planes, strict=True))

    def _convert(self) -> None:
        if not self._waiting:
            return
        pixels = self._rgb() if self._channels == 3 else _full_range()[self._planes[0]][..., None]
        places = list(self._waiting)
        if places == list(range(places[0], places[0] + len(places))):
            self._result[places[0] : places[-1] + 1] = pixels[: len(places)]
        else:
            self._result[places] = pixels[: len(places)]
        self._waiting.clear()

    def _rgb(self) -> Array:
        import av

        height, width = self._shape
        tall = av.VideoFrame.from_numpy_buffer(self._tall, format="yuv420p")
        tall.color_range, tall.colorspace = _LIMITED, _BT601
        # One thread: starting more costs more than they save.
        plane = tall.reformat(format="rgb24", threads=1).planes[0]
        return _lines(plane)[:, : width * 3].reshape(self._many, height, width, 3)


def _decoded(data: bytes, packets: Packets, wanted: dict[int, int]) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) of all frames that must be decoded to have the wanted ones."""
    import av

    context = _take_decoder(packets.settings)
    sent = [frame for frames in _runs(packets, wanted) for frame in frames]
    numbers = iter(sent)
    try:
        for frame in sent:
            offset, size = packets.offsets[frame], packets.sizes[frame]
            for picture in context.decode(av.Packet(data[offset : offset + size])):
                yield _sound(next(numbers), picture)
        left = list(numbers)
        if left:
            for number, picture in zip(left, context.decode(None), strict=True):
                yield _sound(number, picture)
    except (av.FFmpegError, ValueError, StopIteration) as error:
        raise DecodeError(f"{getattr(error, 'strerror', None) or error} (FFmpeg)") from error
    _give_back(packets.settings, context)


def _sound(number: int, picture: Any) -> tuple[int, Any]:
    if picture.is_corrupt:
        raise DecodeError(f"frame {number} is damaged")
    return number, picture


def _runs(packets: Packets, wanted: dict[int, int]) -> Iterator[range]:
    """Yield, for each group of frames that holds wanted ones, the frames from its key frame to the last wanted."""
    if len(wanted) == len(packets.sizes):
        yield range(len(packets.sizes))
        return
    ends = [*packets.key_frames[1:], len(packets.sizes)]
    for first, end in zip(packets.key_frames, ends, strict=True):
        last = max((frame for frame in range(first, end) if frame in wanted), default=None)
        if last is not None:
            yield range(first, last + 1)


_open = threading.local()


def _take_decoder(settings: bytes) -> Any:
    """Return this thread's decoder for these settings. While it is in use nobody else finds it; after an error it is gone."""
    import av

    kept: OrderedDict[bytes, Any] | None = getattr(_open, "kept", None)
    if kept is None:
        kept = _open.kept = OrderedDict()
    context = kept.pop(settings, None)
    if context is None:
        context = av.CodecContext.create("h264", "r")
        context.extradata = settings
        # One thread: for a small clip, starting more costs longer than decoding it.
        context.thread_count, context.thread_type = 1, "NONE"
    else:
        context.flush_buffers()
    return context


def _give_back(settings: bytes, context: Any) -> None:
    _open.kept[settings] = context
    if len(_open.kept) > _MAX_OPEN:
        _open.kept.popitem(last=False)


def _is_ours(frame: Any) -> bool:
    is_even = frame.height % 2 == 0 and frame.width % 2 == 0
    return bool(is_even and frame.format.name == "yuv420p" and frame.color_range == _LIMITED and frame.colorspace == _BT601)


def _planes(tall: Array, count: int, height: int, width: int) -> tuple[Array, Array, Array]:
    """Return Y (T, H, W), U and V (T, H/2, W/2) of a tall picture."""
    flat = tall.reshape(-1)
    luma, chroma = count * height * width, count * height * width // 4
    half = (count, height // 2, width // 2)
    ends = luma, luma + chroma
    return flat[:luma].reshape(count, height, width), flat[luma : ends[1]].reshape(half), flat[ends[1] :].reshape(half)


def _lines(plane: Any) -> Array:
    """Return a plane's memory, line by line, with what FFmpeg keeps behind each line."""
    import numpy as np

    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


@functools.cache
def _full_range() -> Array:
    import numpy as np

    return (((np.arange(256) - 16) * 255 + 109) // 219).clip(0, 255).astype(np.uint8)
