"""Resize, crop and pad pictures to a square, as ``ClipRequest.resize`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2vdata.media.clip_request import Resize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]


def scaled_size(height: int, width: int, size: int | None, resize: Resize = "shorter") -> tuple[int, int]:
    """Return (height, width) of the whole picture once it is scaled, before cropping or padding."""
    if size is None:
        return height, width
    if resize == "squash":
        return size, size
    side = min(height, width) if resize == "shorter" else max(height, width)
    # Halves round up: Python's round would take the even side.
    return max(1, (2 * height * size + side) // (2 * side)), max(1, (2 * width * size + side) // (2 * side))


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
