"""How a file says that its pixels are to be shown: turned, mirrored, or wider than high."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

SQUARE = Fraction(1)
# Anamorphic formats reach 3:1 (half D1 in 16:9). Other values come from damaged or careless headers.
_MAX_PIXEL_RATIO = 8
# Encoders round the ratio of a picture to whole pixels: 854x480 becomes 16:9 with pixels of 1280:1281.
_ROUNDING = Fraction(1, 100)


@dataclass(frozen=True, slots=True)
class Orientation:
    """A turn by quarters, a mirroring, or both. Steps are applied in the order of the fields."""

    is_transposed: bool = False
    """Rows become columns."""
    is_mirrored: bool = False
    """Left becomes right."""
    is_upside_down: bool = False
    """Top becomes bottom."""

    @classmethod
    def of_matrix(cls, a: int, b: int, c: int, d: int) -> Orientation:
        """Return the nearest orientation of a display matrix, which shows a pixel (x, y) at (ax + cy, bx + dy)."""
        if abs(a * d) >= abs(b * c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_exif(cls, value: object) -> Orientation:
        """Return the orientation that EXIF's tag has as 1 to 8; upright for any other value."""
        return _EXIF.get(value, UPRIGHT) if isinstance(value, int) else UPRIGHT

    @classmethod
    def of_turns(cls, turns: int) -> Orientation:
        """Return the orientation of 0 to 3 counterclockwise quarter turns."""
        return (UPRIGHT, _EXIF[8], _EXIF[3], _EXIF[6])[turns]

    def then(self, other: Orientation) -> Orientation:
        """Return the orientation that does this one first, then the other."""
        mirrors = self.is_mirrored, self.is_upside_down
        if other.is_transposed:
            mirrors = mirrors[::-1]
        return Orientation(
            self.is_transposed ^ other.is_transposed, mirrors[0] ^ other.is_mirrored, mirrors[1] ^ other.is_upside_down
        )

    def upright(self, frames: Array) -> Array:
        """Return frames (T, H, W, C) as they are to be shown; contiguous."""
        import numpy as np

        shown = frames.swapaxes(1, 2) if self.is_transposed else frames
        return np.ascontiguousarray(shown[:, :: -1 if self.is_upside_down else 1, :: -1 if self.is_mirrored else 1])


UPRIGHT = Orientation()
_EXIF = {
    number: Orientation(is_transposed, is_mirrored, is_upside_down)
    for number, (is_transposed, is_mirrored, is_upside_down) in {
        2: (False, True, False),
        3: (False, True, True),
        4: (False, False, True),
        5: (True, False, False),
        6: (True, True, False),
        7: (True, True, True),
        8: (True, False, True),
    }.items()
}


@dataclass(frozen=True, slots=True)
class DisplayGeometry:
    """The size of a decoded frame, and how it is shown."""

    coded_height: int
    coded_width: int
    orientation: Orientation = UPRIGHT
    pixel_ratio: Fraction = SQUARE
    """Width of a coded pixel over its height."""

    @property
    def square_width(self) -> int:
        """Width of the frame before it is turned, with square pixels; its height stays. Rounded down, as FFmpeg does."""
        return max(1, self.coded_width * self.pixel_ratio.numerator // self.pixel_ratio.denominator)

    @property
    def height(self) -> int:
        """Height of the frame as it is shown."""
        return self.square_width if self.orientation.is_transposed else self.coded_height

    @property
    def width(self) -> int:
        """Width of the frame as it is shown."""
        return self.coded_height if self.orientation.is_transposed else self.square_width

    def __str__(self) -> str:
        shape = f"{self.coded_width}x{self.coded_height}"
        if self.pixel_ratio != SQUARE:
            shape += f" with pixels of {self.pixel_ratio.numerator}:{self.pixel_ratio.denominator}"
        return shape if self.orientation == UPRIGHT else f"{shape}, shown as {self.width}x{self.height}"


def of_frame(frame: av.VideoFrame, sample_aspect_ratio: Fraction | None, orientation: Orientation) -> DisplayGeometry:
    """Return how a frame is to be shown, given the ratio that its stream states, and the orientation before it.

    An orientation holds until another is stated: H.264 and HEVC may state theirs with their first frame, or with key frames.
    """
    stated = _orientation(frame)
    return DisplayGeometry(
        frame.height, frame.width, orientation if stated is None else stated, pixel_ratio(sample_aspect_ratio)
    )


def pixel_ratio(stated: Fraction | None) -> Fraction:
    """Return the width of a pixel over its height; square if a file states none, nearly square, or an impossible one."""
    if not stated or not Fraction(1, _MAX_PIXEL_RATIO) <= stated <= _MAX_PIXEL_RATIO or abs(stated - 1) < _ROUNDING:
        return SQUARE
    return stated


def _orientation(frame: av.VideoFrame) -> Orientation | None:
    """Return the orientation that comes with a frame, or None."""
    from av.sidedata.sidedata import Type

    try:
        matrix: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV's stub has another key
    except ValueError:
        # PyAV 18 does not know every type of side data that its FFmpeg gives; the rotation it reads by itself.
        return Orientation.of_turns(round(frame.rotation / 90) % 4) if frame.rotation else None
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    return Orientation.of_matrix(a, b, c, d)
