"""Exact arrays: a NumPy array file in one Zstandard frame (``.npy.zst``)."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A clip above this is no clip: a kilobyte of Zstandard can claim terabytes.
MAX_BYTES = 1 << 30

_HEADER = re.compile(rb"\{'descr': '\|u1', 'fortran_order': False, 'shape': \((\d+), (\d+), (\d+), (\d+)\), \}")


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the array (T, H, W, C) uint8; it is read-only. Raises DecodeError for anything else."""
    import numpy as np
    import zstandard

    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size > MAX_BYTES:  # also when the frame does not say
            raise DecodeError(f"claims {parameters.content_size} bytes of pixels, over the limit of {MAX_BYTES}")
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
    found = _HEADER.match(header, 10) if header.startswith(b"\x93NUMPY\x01\x00") else None
    if found is None:
        return None
    frames, height, width, channels = map(int, found.groups())
    return frames, height, width, channels


@functools.cache
def _decompressor() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor()
