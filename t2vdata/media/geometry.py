"""Resize, crop and pad pictures to a square, as ``ClipRequest.resize`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media.clip_request import Resize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# FFmpeg's limit is twice that. A strip of 4096x16 would become 262144x1024 with --size 1024.
MAX_SCALED_PIXELS = 1 << 27


def scaled_size(height: int, width: int, size: int | None, resize: Resize = "shorter") -> tuple[int, int]:
    """Return (height, width) of the whole picture once it is scaled, before cropping or padding."""
    if size is None:
        return height, width
    if resize == "squash":
        return size, size
    side = min(height, width) if resize == "shorter" else max(height, width)
    # Halves round up: Python's round would take the even side.
    return max(1, (2 * height * size + side) // (2 * side)), max(1, (2 * width * size + side) // (2 * side))


def check_scaled_size(coded: tuple[int, int], scaled: tuple[int, int]) -> None:
    """Raise DecodeError if a picture (height, width) becomes too large to be scaled: a strip grows with its shorter side."""
    if scaled[0] * scaled[1] > MAX_SCALED_PIXELS:
        size = f"{coded[1]}x{coded[0]} would be scaled to {scaled[1]}x{scaled[0]}, over {MAX_SCALED_PIXELS} pixels"
        raise DecodeError(f"{size}; use a smaller --size, or --resize pad")


def crop_or_pad(picture: Array, size: int | None, resize: Resize = "shorter") -> Array:
    """Return the middle of a scaled picture, or the picture in the middle of black: (size, size, 3)."""
    import numpy as np

    if size is None or picture.shape[:2] == (size, size):
        return np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    if resize == "shorter":
        top, left = (height - size) // 2, (width - size) // 2
        return np.ascontiguousarray(picture[top : top + size, left : left + size])
    padded = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    padded[top : top + height, left : left + width] = picture
    return padded
