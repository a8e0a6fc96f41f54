"""The lossless backend: a NumPy array file in one Zstandard frame (``.npy.zst``)."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode.video import Video, VideoInfo, cpu_only

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A kilobyte of Zstandard can claim terabytes.
MAX_BYTES = 1 << 30

# NumPy pads its header to a multiple of 64.
_MAX_HEADER_BYTES = 192

_HEADER = re.compile(rb"\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+), (\d+), (\d+)\), \}")


def decode(data: bytes, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return the array (T, H, W, C) uint8, read-only. Raises DecodeError for anything else, and beyond ``max_pixels``."""
    import numpy as np
    import zstandard

    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size > MAX_BYTES:  # also if the frame does not state its size
            raise DecodeError(f"claims {parameters.content_size} bytes of pixels, over the limit of {MAX_BYTES}")
        if max_pixels is not None and parameters.content_size > _MAX_HEADER_BYTES + 3 * max_pixels:
            raise DecodeError(f"claims {parameters.content_size} bytes of pixels; the index says {max_pixels} pixels")
        content = _decompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DecodeError(f"not a Zstandard frame: {error}") from error
    size = int.from_bytes(content[8:10], "little") + 10
    shape = _shape(content[:size])
    if shape is None or shape[0] * shape[1] * shape[2] * shape[3] != len(content) - size:
        raise DecodeError("not a NumPy array (T, H, W, C) of uint8")
    return np.frombuffer(content, np.uint8, offset=size).reshape(shape)


@functools.lru_cache(maxsize=64)
def _shape(header: bytes) -> tuple[int, int, int, int] | None:
    match = _HEADER.match(header, 10) if header.startswith(b"\x93NUMPY\x01\x00") else None
    if match is None:
        return None
    frames, height, width, channels = map(int, match.groups())
    return frames, height, width, channels


class _ThreadLocal(threading.local):
    """One decompressor per thread: a decompressor that two threads share reports corrupt data."""

    def __init__(self) -> None:
        import zstandard

        self.decompressor: Any = zstandard.ZstdDecompressor()


@functools.cache
def _thread_local() -> _ThreadLocal:
    return _ThreadLocal()


def _decompressor() -> Any:
    return _thread_local().decompressor


def why_not(device: str) -> str | None:
    """Return why exact arrays cannot be read on ``device``, or None."""
    return cpu_only(device)


def version() -> str | None:
    import zstandard

    return str(zstandard.__version__)


def open(source: bytes | str, device: str) -> Video:
    """Open an exact array as a video; grey is repeated to RGB. An array has no rate: 1 fps is assumed."""
    from t2vdata import storage

    frames = decode(source if isinstance(source, bytes) else storage.read_bytes(source))
    if 0 in frames.shape or frames.shape[3] not in (1, 3):
        raise DecodeError(f"expected frames of shape (T, H, W, 1 or 3), got {frames.shape}")
    info = VideoInfo(tuple(map(float, range(len(frames)))), frames.shape[1], frames.shape[2], 1.0, float(len(frames)))
    return Video(_Reader(frames), info, backend="lossless", device=device)


class _Reader:
    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames = frames

    def frames_at(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        frames = self._frames[list(indices)]
        return frames if frames.shape[3] == 3 else frames.repeat(3, axis=3)

    def close(self) -> None:
        """Do nothing: only memory is held."""
