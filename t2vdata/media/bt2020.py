"""BT.2020 colours of standard range as BT.709: the matrix of the primaries, applied to linear light."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# FFmpeg's AVColorPrimaries and AVColorTransferCharacteristic.
_BT2020 = 9
HDR_TRANSFERS = (16, 18)  # PQ and hybrid log-gamma
_UNSPECIFIED_TRANSFERS = (0, 2, 3)
_GAMMA = {4: 2.2, 5: 2.8, 8: 1.0}
_SRGB, _SMPTE_240M = 13, 7

# ITU-R BT.2087, section 2: linear BT.2020 to linear BT.709. Each row adds up to 1, so that grey stays grey.
_MATRIX = ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132899, -0.008349), (-0.018151, -0.100579, 1.118730))

# Linear light has 16 bits: BT.709's slope of 4.5 near black keeps 8-bit levels apart.
_NUM_LEVELS = 1 << 16


def is_hdr(frame: av.VideoFrame) -> bool:
    """Return whether a frame has a high dynamic range: PQ, hybrid log-gamma, or BT.2020 of over 8 bits without a transfer."""
    if frame.color_primaries == _BT2020 and frame.color_trc in _UNSPECIFIED_TRANSFERS:
        return any(component.bits > 8 for component in frame.format.components)
    return frame.color_trc in HDR_TRANSFERS


def is_standard_range(frame: av.VideoFrame) -> bool:
    """Return whether a frame has BT.2020 colours in standard range."""
    return frame.color_primaries == _BT2020 and not is_hdr(frame)


def to_bt709(rgb: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """Convert BT.2020 RGB (H, W, 3) of 16 bits to BT.709 RGB of 8 bits; colours outside BT.709 are clipped."""
    import numpy as np

    red, green, blue = (_linear_levels(transfer)[rgb[..., channel]] for channel in range(3))
    encoded = _bt709_levels()
    channels = []
    for of_red, of_green, of_blue in _MATRIX:
        light = np.float32(of_red) * red + np.float32(of_green) * green + np.float32(of_blue) * blue
        levels = np.rint(light.clip(0, 1) * np.float32(_NUM_LEVELS - 1)).astype(np.uint16)
        channels.append(encoded[levels])
    return np.stack(channels, axis=-1)


@functools.lru_cache(maxsize=8)
def _linear_levels(transfer: int) -> NDArray[np.float32]:
    """Return linear light, 0 to 1, of each 16-bit level; without a known transfer that of BT.709, which BT.2020 shares."""
    import numpy as np

    level = np.arange(_NUM_LEVELS) / (_NUM_LEVELS - 1)
    if transfer in _GAMMA:
        light = np.power(level, _GAMMA[transfer])
    elif transfer == _SRGB:
        light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    elif transfer == _SMPTE_240M:
        light = np.where(level < 0.0913, level / 4, ((level + 0.1115) / 1.1115) ** (1 / 0.45))
    else:
        light = np.where(level < 0.081, level / 4.5, ((level + 0.099) / 1.099) ** (1 / 0.45))
    result: NDArray[np.float32] = light.astype(np.float32)
    return result


@functools.cache
def _bt709_levels() -> NDArray[np.uint8]:
    """Return the 8-bit level of BT.709 for each 16-bit level of linear light."""
    import numpy as np

    light = np.arange(_NUM_LEVELS) / (_NUM_LEVELS - 1)
    level = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    result: NDArray[np.uint8] = np.rint(level * 255).astype(np.uint8)
    return result
