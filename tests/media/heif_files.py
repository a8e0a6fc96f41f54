"""HEIC pictures of one or more tiles, written box by box (ISO/IEC 23008-12): no library here writes tiles."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

GRID_ITEM = 1


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + name + content


def _full_box(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), *parts)


@functools.cache
def _coded(pixels: bytes, height: int, width: int) -> tuple[bytes, bytes]:
    """Return a picture as one HEVC frame, and the decoder's configuration (hvcC)."""
    file = io.BytesIO()
    settings = {"x265-params": "log-level=none:pools=1", "crf": "8", "preset": "ultrafast"}
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx265", rate=1, options=settings)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    data = file.getvalue()
    with av.open(io.BytesIO(data)) as container:
        sample = next(bytes(packet) for packet in container.demux(video=0) if packet.size)
    start = data.index(b"hvcC")
    size = int.from_bytes(data[start - 4 : start], "big")
    return sample, data[start + 4 : start - 4 + size]


def heic(
    picture: NDArray[np.uint8], rows: int, columns: int, tile: tuple[int, int], *, turns: int = 0, mirror: int | None = None,
    aperture: Sequence[int] = (),
) -> bytes:  # fmt: skip
    """Return a HEIC file of a picture (H, W, 3) in tiles (height, width), the last of which may reach beyond its edges.

    ``turns`` are counterclockwise quarter turns (irot); ``mirror`` is an axis (imir): 0 swaps top and bottom, 1 left and right.
    ``aperture`` has the eight numbers of a crop (clap).
    """
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, rows * tile[0] - height), (0, columns * tile[1] - width), (0, 0)), mode="edge")
    tiles = [
        _coded(padded[row * tile[0] : (row + 1) * tile[0], column * tile[1] : (column + 1) * tile[1]].tobytes(), *tile)
        for row in range(rows)
        for column in range(columns)
    ]
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    items = [GRID_ITEM, *range(GRID_ITEM + 1, GRID_ITEM + 1 + len(tiles))]
    file_type = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    offset = 0
    for _ in range(2):  # once for the length of the boxes, once with the offsets that follow from it
        boxes = file_type + _meta(items, tiles, grid, offset, (height, width), tile, turns, mirror, aperture)
        offset = len(boxes) + 8
    return boxes + _box(b"mdat", *(sample for sample, _ in tiles))


def _meta(
    items: Sequence[int], tiles: Sequence[tuple[bytes, bytes]], grid: bytes, offset: int,
    size: tuple[int, int], tile: tuple[int, int], turns: int, mirror: int | None,
    aperture: Sequence[int],
) -> bytes:  # fmt: skip
    kinds = [b"grid", *[b"hvc1"] * len(tiles)]
    entries = [
        _full_box(b"infe", 2, 0, struct.pack(">HH", item, 0), kind, b"\0") for item, kind in zip(items, kinds, strict=True)
    ]
    locations = [struct.pack(">HHHHII", items[0], 1, 0, 1, 0, len(grid))]
    for item, (sample, _) in zip(items[1:], tiles, strict=True):
        locations.append(struct.pack(">HHHHII", item, 0, 0, 1, offset, len(sample)))
        offset += len(sample)
    properties = [
        _full_box(b"ispe", 0, 0, struct.pack(">II", size[1], size[0])),
        _full_box(b"ispe", 0, 0, struct.pack(">II", tile[1], tile[0])),
        _box(b"hvcC", tiles[0][1]),
        *([_box(b"clap", struct.pack(">IIIIiIiI", *aperture))] if aperture else []),
        *([_box(b"irot", bytes([turns]))] if turns else []),
        *([_box(b"imir", bytes([mirror]))] if mirror is not None else []),
    ]
    of_grid = [1, *range(4, len(properties) + 1)]
    associations = [struct.pack(">HB", items[0], len(of_grid)) + bytes(of_grid)]
    associations += [struct.pack(">HBBB", item, 2, 2, 0x83) for item in items[1:]]
    references = struct.pack(f">HH{len(items) - 1}H", items[0], len(items) - 1, *items[1:])
    return _full_box(
        b"meta", 0, 0,
        _full_box(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
        _full_box(b"pitm", 0, 0, struct.pack(">H", items[0])),
        _full_box(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, len(items)), *locations),
        _full_box(b"iinf", 0, 0, struct.pack(">H", len(items)), *entries),
        _full_box(b"iref", 0, 0, _box(b"dimg", references)),
        _box(b"iprp", _box(b"ipco", *properties), _full_box(b"ipma", 0, 0, struct.pack(">I", len(items)), *associations)),
        _box(b"idat", grid),
    )  # fmt: skip
