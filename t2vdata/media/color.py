"""Colour: BT.601 luma, and RGB to limited-range YUV 4:2:0. Integers throughout, so that every processor gets the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# FFmpeg's AVColorRange and AVColorSpace; primaries and transfer of BT.601 have the same number.
LIMITED_RANGE, BT601 = 1, 6

LUMA_PER_MILLE = (299, 587, 114)
"""Weights of red, green and blue in BT.601's luma."""
LUMA_PER_65536 = (19595, 38470, 7471)
"""The same for shifts by 16 bits; they add up to 65,536, so white stays white."""


def to_luma(data: Array) -> Array:
    """Return the luma of RGB frames (..., 3), in full range: (..., 1) uint8."""
    import numpy as np

    red, green, blue = (data[..., channel].astype(np.uint32) for channel in range(3))
    of_red, of_green, of_blue = LUMA_PER_65536
    return ((of_red * red + of_green * green + of_blue * blue + 32768) >> 16).astype(np.uint8)[..., None]


def full_range(y: NDArray[np.integer]) -> Array:
    """Return limited-range luma (16 to 235) as grey levels 0 to 255, uint8."""
    import numpy as np

    levels = ((y.astype(np.int32) - 16) * 255 + 109) // 219
    return levels.clip(0, 255).astype(np.uint8)


def to_yuv420(data: Array) -> tuple[Array, Array, Array]:
    """Return (T, H, W, 1 or 3) frames as Y (T, H, W), U and V (T, H/2, W/2): BT.601, limited range."""
    import numpy as np

    num_frames, height, width, channels = data.shape
    half = (num_frames, height // 2, width // 2)
    if channels == 1:
        levels = ((np.arange(256) * 219 + 127) // 255 + 16).astype(np.uint8)
        neutral = np.full(half, 128, np.uint8)
        return levels[data[..., 0]], neutral, neutral
    red, green, blue = (np.ascontiguousarray(data[..., channel]).astype(np.int32) for channel in range(3))
    y = ((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16
    # Chroma of the mean of four pixels; their sum is shifted two bits further instead of divided first.
    red, green, blue = (_sum_of_quads(channel) for channel in (red, green, blue))
    u = ((-38 * red - 74 * green + 112 * blue + 512) >> 10) + 128
    v = ((112 * red - 94 * green - 18 * blue + 512) >> 10) + 128
    return y.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8)


def _sum_of_quads(channel: NDArray[np.int32]) -> NDArray[np.int32]:
    rows: NDArray[np.int32] = channel[:, 0::2] + channel[:, 1::2]
    return rows[..., 0::2] + rows[..., 1::2]
