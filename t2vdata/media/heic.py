"""Decode HEIC pictures: FFmpeg decodes each tile as a stream of its own, and they are put together here."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020, heif_boxes
from t2vdata.media.decode import probe as probing
from t2vdata.media.heif_boxes import Layout
from t2vdata.media.library_errors import ffmpeg_errors, file_errors
from t2vdata.media.media_file import Source
from t2vdata.media.rgb import RgbConverter

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

# The boxes come first: a few kilobytes.
_MAX_BOX_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class HeicPicture:
    """The decoded picture of a file."""

    pixels: NDArray[np.uint8]
    """(H, W, 3): RGB, upright."""
    is_hdr: bool


def read(source: Source, *, max_pixels: int) -> HeicPicture:
    """Return the primary picture of a HEIC file, whole. Raises DecodeError if a part of it is missing or damaged."""
    layout = heif_boxes.read_layout(first_bytes(source))
    height, width = layout.size or (0, 0)
    if height * width > max_pixels:
        raise DecodeError(f"a picture of {width}x{height}, over the limit of {max_pixels} pixels")
    tiles: dict[int, av.VideoFrame] = {}
    for item, frame in _decoded(source, layout.items):
        tiles.setdefault(item, frame)
    num_missing = len(set(layout.items) - tiles.keys())
    if num_missing:
        raise DecodeError(f"{num_missing} of {len(layout.items)} tiles of a HEIC picture do not decode")
    return HeicPicture(_assembled(layout, tiles, max_pixels), any(map(bt2020.is_hdr, tiles.values())))


def first_bytes(source: Source) -> bytes:
    """Return the beginning of a HEIF file, which has its boxes."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, io.BufferedIOBase):
        source.seek(0)
        return source.read(_MAX_BOX_BYTES)
    with file_errors(), open(source, "rb") as file:
        return file.read(_MAX_BOX_BYTES)


def _decoded(source: Source, items: tuple[int, ...]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield (number of its item, frame) of each tile that decodes; FFmpeg numbers streams by their items."""
    with probing.opened(source, "mov") as (container, _), ffmpeg_errors():
        streams = [stream for stream in container.streams.video if stream.id in items and stream.codec_context is not None]
        for stream in streams:
            stream.thread_count, stream.thread_type = 1, "NONE"
        for packet in container.demux(*streams) if streams else ():
            for frame in packet.decode():
                yield packet.stream.id, cast("av.VideoFrame", frame)


def _assembled(layout: Layout, tiles: Mapping[int, av.VideoFrame], max_pixels: int) -> NDArray[np.uint8]:
    """Return the tiles as one upright picture; those at its right and lower edge may reach beyond it."""
    import numpy as np

    first = tiles[layout.items[0]]
    num_rows = len(layout.items) // layout.num_columns
    canvas_height, canvas_width = num_rows * first.height, layout.num_columns * first.width
    height, width = layout.size or (first.height, first.width)
    if canvas_height * canvas_width > 2 * max_pixels or height > canvas_height or width > canvas_width:
        raise DecodeError(f"a HEIC picture of {width}x{height} does not fit its tiles, {canvas_width}x{canvas_height}")
    converter, canvas = RgbConverter(), np.empty((canvas_height, canvas_width, 3), np.uint8)
    for number, item in enumerate(layout.items):
        row, column = divmod(number, layout.num_columns)
        rows = slice(row * first.height, (row + 1) * first.height)
        columns = slice(column * first.width, (column + 1) * first.width)
        canvas[rows, columns] = converter.rgb(tiles[item], first.height, first.width)
    rows, columns = layout.aperture.slices(height, width) if layout.aperture else (slice(height), slice(width))
    picture: NDArray[np.uint8] = layout.orientation.upright(canvas[None, rows, columns])[0]
    return picture
