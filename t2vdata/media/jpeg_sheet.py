"""JPEG sheets: a clip as a single JPEG picture, its frames in a grid, row by row.

The number of columns is the square root of the number of frames, rounded up; cells after the last frame are black. A comment
at byte 20 holds the number of frames and the CRC-32 of everything after it, because JPEG decoders conceal damage silently. A
JPEG file without that comment is a picture: a clip of one frame.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# Limit of a sheet: 90 frames of 4K have 750 million.
MAX_PIXELS = 1 << 30
# libjpeg's limit in each direction.
MAX_SIDE = 65_500
# After the start-of-image marker (2 bytes) and the JFIF header (18).
_COMMENT_OFFSET = 20
_COMMENT = re.compile(rb"\xff\xfe\x00\x2ct2vdata frames=(\d{8}) crc32=([0-9a-f]{8})    ")


def grid(num_frames: int) -> tuple[int, int]:
    """Return (rows, columns) of the sheet for ``num_frames`` frames."""
    columns = math.isqrt(num_frames - 1) + 1
    return -(-num_frames // columns), columns


def encode(data: Array, quality: int) -> bytes:
    """Encode frames (T, H, W, 1 or 3) as a JPEG sheet; colour is 4:2:0.

    Raises EncodeError if the sheet would exceed 65,500 pixels in either direction.
    """
    from PIL import Image

    num_frames, height, width, _ = data.shape
    rows, columns = grid(num_frames)
    if rows * height > MAX_SIDE or columns * width > MAX_SIDE:
        raise EncodeError(
            f"a sheet of {columns * width}x{rows * height} pixels; JPEG allows {MAX_SIDE} in each direction: "
            "use fewer or smaller frames, or --encoding h264"
        )
    file = io.BytesIO()
    Image.fromarray(_arranged(data, rows, columns)).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    picture = file.getvalue()
    rest = picture[_COMMENT_OFFSET:]
    # 44 bytes, including the two of the length.
    comment = b"\xff\xfe\x00\x2c" + b"t2vdata frames=%08d crc32=%08x    " % (num_frames, zlib.crc32(rest))
    return picture[:_COMMENT_OFFSET] + comment + rest


def decode(data: bytes, *, channels: int, max_pixels: int | None = None) -> Array:
    """Decode the frames of a sheet, or a picture as one frame: (T, H, W, channels) uint8.

    Raises DecodeError if the bytes are not a JPEG file, are cut short, or have changed since they were written, and before it
    makes frames of more than ``max_pixels`` together.
    """
    import numpy as np
    from PIL.JpegImagePlugin import JpegImageFile

    num_frames = _num_frames(data)
    rows, columns = grid(num_frames)
    try:
        # Not Image.open, whose own limit is lower and only warns.
        picture = JpegImageFile(io.BytesIO(data))
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise DecodeError(f"a JPEG of {width}x{height} pixels, over the limit of {MAX_PIXELS}")
        if height % rows or width % columns:
            raise DecodeError(f"a sheet of {width}x{height} does not hold {num_frames} frames in {columns}x{rows} cells")
        if max_pixels is not None and num_frames * (height // rows) * (width // columns) > max_pixels:
            raise DecodeError(f"{num_frames} frames in a JPEG of {width}x{height} pixels; the index says {max_pixels} pixels")
        mode = "L" if channels == 1 else "RGB"
        pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise DecodeError(f"{error} (JPEG)") from error
    cells = pixels.reshape(rows, height // rows, columns, width // columns, channels).swapaxes(1, 2)
    frames = cells.reshape(rows * columns, height // rows, width // columns, channels)[:num_frames]
    return frames if num_frames > 1 else np.array(frames)


def num_channels(data: bytes) -> int:
    """Return 1 for a grey JPEG, else 3."""
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        return 1 if JpegImageFile(io.BytesIO(data)).mode == "L" else 3
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise DecodeError(f"{error} (JPEG)") from error


def _num_frames(data: bytes) -> int:
    match = _COMMENT.match(data, _COMMENT_OFFSET)
    if match is None:
        if data[_COMMENT_OFFSET + 4 : _COMMENT_OFFSET + 12] == b"t2vdata ":
            raise DecodeError("the comment of this JPEG sheet is damaged")
        return 1
    num_frames, checksum = int(match[1]), int(match[2], 16)
    if num_frames < 1 or zlib.crc32(memoryview(data)[match.end() :]) != checksum:
        raise DecodeError("this JPEG sheet is cut short, or was changed since it was written: its CRC-32 differs")
    return num_frames


def _arranged(data: Array, rows: int, columns: int) -> Array:
    """Return the frames as one picture, (H, W) or (H, W, 3)."""
    import numpy as np

    num_frames, height, width, channels = data.shape
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:num_frames] = data
    sheet = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    picture = np.ascontiguousarray(sheet).reshape(rows * height, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture
