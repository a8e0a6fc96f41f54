"""Which items make the picture of a HEIF file, and how it is turned: its boxes (ISO/IEC 14496-12 and 23008-12)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from t2vdata.errors import DecodeError
from t2vdata.media.display_geometry import UPRIGHT, Orientation

_CODED_KINDS = (b"hvc1", b"hev1")


@dataclass(frozen=True, slots=True)
class Aperture:
    """The part of a picture that is shown."""

    height: Fraction
    width: Fraction
    down: Fraction
    """Distance of its centre from that of the picture."""
    right: Fraction

    @classmethod
    def of_box(cls, clap: bytes) -> Aperture:
        """Return the aperture of a box; raises ValueError for one without an area."""
        numbers = struct.unpack_from(">IIIIiIiI", clap)
        if 0 in (*numbers[:4], numbers[5], numbers[7]):
            raise ValueError("its aperture has no area")
        width, height, right, down = (Fraction(numbers[index], numbers[index + 1]) for index in (0, 2, 4, 6))
        return cls(height, width, down, right)

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of a picture that are shown. Raises DecodeError if they are not inside it."""
        top, left = (floor((height - self.height) / 2 + self.down), floor((width - self.width) / 2 + self.right))
        rows, columns = slice(top, top + floor(self.height)), slice(left, left + floor(self.width))
        if not (0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width):
            raise DecodeError(f"a HEIC picture of {width}x{height} is cropped beyond its edges")
        return rows, columns


@dataclass(frozen=True, slots=True)
class Layout:
    """Which items make the primary picture, and how."""

    items: tuple[int, ...]
    """Numbers of the tiles, row by row."""
    num_columns: int
    size: tuple[int, int] | None
    """(height, width) of the picture; None for that of its only tile."""
    aperture: Aperture | None
    """What is cropped from it before it is turned; None for all of it."""
    orientation: Orientation


def read_layout(data: bytes) -> Layout:
    """Return the layout of the primary picture of a file. Raises DecodeError for boxes that are damaged or of another kind."""
    try:
        meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
        return _layout(meta, data)
    except (struct.error, LookupError, ValueError) as error:
        raise DecodeError(f"a HEIC picture with damaged boxes ({error})") from error


def transfer(data: bytes) -> int | None:
    """Return the number of the transfer characteristic (ISO/IEC 23091-2) that the primary picture states, or None."""
    try:
        meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
        for name, content in _properties(meta, _primary(meta)):
            if name == b"colr" and content[:4] == b"nclx":
                return int.from_bytes(content[6:8], "big")
    except (struct.error, LookupError):
        # Whether the picture decodes is for its decoder to say.
        return None
    return None


def _primary(meta: Mapping[bytes, bytes]) -> int:
    (primary,) = struct.unpack_from(">H" if meta[b"pitm"][0] == 0 else ">I", meta[b"pitm"], 4)
    return int(primary)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, content) of adjacent boxes, up to one without a size of its own: that one holds the pixels."""
    start = 0
    while start + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8:
            return
        yield name, data[start + 8 : start + size]
        start += size


def _layout(meta: Mapping[bytes, bytes], data: bytes) -> Layout:
    primary = _primary(meta)
    kind = dict(_item_kinds(meta[b"iinf"]))[primary]
    aperture, orientation = _shown(meta, primary)
    if kind in _CODED_KINDS:
        return Layout((primary,), 1, None, aperture, orientation)
    if kind != b"grid":
        raise ValueError(f"its primary item is {kind!r}, expected hvc1 or grid")
    grid = _item_bytes(meta, data, primary)
    num_rows, num_columns = grid[2] + 1, grid[3] + 1
    width, height = struct.unpack_from(">II" if grid[1] & 1 else ">HH", grid, 4)
    items = _tiles(meta[b"iref"], primary)
    if len(items) != num_rows * num_columns or 0 in (width, height):
        raise ValueError(f"{len(items)} tiles for {num_columns}x{num_rows}")
    return Layout(items, num_columns, (height, width), aperture, orientation)


def _item_kinds(iinf: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the kind of each item."""
    for name, entry in _boxes(iinf[6 if iinf[0] == 0 else 8 :]):
        if name == b"infe" and entry[0] in (2, 3):
            number, kind = struct.unpack_from(">H2x4s" if entry[0] == 2 else ">I2x4s", entry, 4)
            yield number, kind


def _tiles(iref: bytes, primary: int) -> tuple[int, ...]:
    """Return the items from which the primary one is derived, in order."""
    kind = "H" if iref[0] == 0 else "I"
    for name, reference in _boxes(iref[4:]):
        source, count = struct.unpack_from(f">{kind}H", reference)
        if name == b"dimg" and source == primary:
            return struct.unpack_from(f">{count}{kind}", reference, struct.calcsize(f">{kind}H"))
    return ()


def _item_bytes(meta: Mapping[bytes, bytes], data: bytes, item: int) -> bytes:
    """Return the content of an item of a single extent, in the file or in ``idat``."""
    iloc = io.BytesIO(meta[b"iloc"])

    def number(num_bytes: int) -> int:
        content = iloc.read(num_bytes)
        if len(content) < num_bytes:
            raise ValueError("iloc is cut short")
        return int.from_bytes(content, "big")

    version, _, sizes = number(1), number(3), number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    item_bytes = 4 if version == 2 else 2
    for _ in range(number(item_bytes)):
        current = number(item_bytes)
        is_in_idat = version > 0 and number(2) & 15 == 1
        _, base, num_extents = number(2), number(base_bytes), number(2)
        extents = []
        for _ in range(num_extents):
            number(index_bytes if version > 0 else 0)
            extents.append((base + number(offset_bytes), number(length_bytes)))
        if current == item and len(extents) == 1:
            start, size = extents[0]
            return (meta[b"idat"] if is_in_idat else data)[start : start + size]
    raise ValueError(f"no location of item {item}")


def _shown(meta: Mapping[bytes, bytes], item: int) -> tuple[Aperture | None, Orientation]:
    """Return how an item is cropped (clap), and what its turns (irot) and mirrors (imir) do then, one after the other."""
    aperture, orientation = None, UPRIGHT
    for name, content in _properties(meta, item):
        if name == b"irot":
            orientation = orientation.then(Orientation.of_turns(content[0] & 3))
        elif name == b"imir":
            is_left_right = bool(content[0] & 1)
            orientation = orientation.then(Orientation(False, is_left_right, not is_left_right))
        elif name == b"clap":
            if orientation != UPRIGHT:
                raise ValueError("it is cropped after it is turned")
            aperture = Aperture.of_box(content)
    return aperture, orientation


def _properties(meta: Mapping[bytes, bytes], item: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each property of an item, in order."""
    boxes = list(_boxes(meta.get(b"iprp", b"")))
    properties = [list(_boxes(content)) for name, content in boxes if name == b"ipco"]
    for index in (index for name, content in boxes if name == b"ipma" for index in _associations(content, item)):
        # Index 0 is no property.
        if index:
            yield properties[0][index - 1]


def _associations(ipma: bytes, item: int) -> Iterator[int]:
    """Yield the numbers of the properties of an item, in order."""
    is_wide_item, is_wide_index = ipma[0] > 0, bool(ipma[3] & 1)
    (count,) = struct.unpack_from(">I", ipma, 4)
    position = 8
    for _ in range(count):
        current, num_properties = struct.unpack_from(">IB" if is_wide_item else ">HB", ipma, position)
        position += 5 if is_wide_item else 3
        for _ in range(num_properties):
            # The highest bit says that a reader must know the property.
            (index,) = struct.unpack_from(">H" if is_wide_index else ">B", ipma, position)
            position += 2 if is_wide_index else 1
            if current == item:
                yield index & (0x7FFF if is_wide_index else 0x7F)
