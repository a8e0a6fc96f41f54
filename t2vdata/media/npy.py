"""NumPy array files in one Zstandard frame: ``.npy.zst``, the lossless pixel member."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]


def compress(data: Array, level: int) -> bytes:
    """Return an array of uint8 as a NumPy file, compressed at Zstandard's ``level``, with its checksum of the content."""
    compressed: bytes = _compressor(level).compress(_npy_file(data))
    return compressed


def canvas(num_frames: int, height: int, width: int, channels: int) -> Array:
    """Return black frames (T, H, W, C) uint8 to draw on; ``compress`` takes them without a copy.

    They lie in a buffer that begins with the header of their NumPy file.
    """
    import numpy as np

    header = _npy_header((num_frames, height, width, channels))
    buffer = np.zeros(len(header) + num_frames * height * width * channels, np.uint8)
    buffer[: len(header)] = np.frombuffer(header, np.uint8)
    return buffer[len(header) :].reshape(num_frames, height, width, channels)


@functools.cache
def _compressor(level: int) -> Any:
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=True)


def _npy_file(data: Array) -> Array | bytes:
    """Return the NumPy file of an array: the buffer that holds both if there is one (see ``canvas``), else a copy."""
    import numpy as np

    header = _npy_header(data.shape)
    buffer = data.base
    if buffer is not None and buffer.shape == (len(header) + data.size,) and data.flags.c_contiguous:
        front = buffer[: len(header)]
        # An array of that size that does not overlap the front fills all that follows it.
        if front.tobytes() == header and not np.may_share_memory(front, data):
            return buffer
    return header + data.tobytes()


@functools.lru_cache(maxsize=64)
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a NumPy file, version 1.0, for an array of uint8.

    Written out because numpy's padding differs between its versions.
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    # The data begins at a multiple of 64 bytes: 10 before the text, 1 after it.
    padded = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("ascii")
