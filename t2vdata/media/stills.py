"""Decode JPEG, PNG and WebP pictures as clips of one frame."""

from __future__ import annotations

import io
from typing import IO, cast

from t2vdata.errors import DecodeError
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode.probe import Source
from t2vdata.media.geometry import crop_or_pad, scaled_size
from t2vdata.types import Frames

# Magic number and Pillow's name. Checked here, as Pillow would otherwise try all of its formats.
_FORMATS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"))


def picture_format(head: bytes) -> str | None:
    """Return Pillow's name of the picture format that begins with ``head``, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _FORMATS if head.startswith(magic)), None)


def read_still(source: Source, kind: str, request: ClipRequest, *, max_pixels: int) -> Frames:
    """Return a picture as a clip of one frame, upright, with transparent parts on white."""
    import numpy as np
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(_file(source), formats=[kind]) as file:
            if file.width * file.height > max_pixels:
                raise DecodeError(f"a picture of {file.width}x{file.height}, over the limit of {max_pixels} pixels")
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                background = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(background, picture.convert("RGBA"))
            picture = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, OverflowError, EOFError) as error:
        raise DecodeError(f"{error} ({kind})") from error
    height, width = scaled_size(picture.height, picture.width, request.size, request.resize)
    original = {"height": picture.height, "width": picture.width, "codec": kind.lower(), "hdr": False}
    if (height, width) != (picture.height, picture.width):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    pixels = crop_or_pad(np.asarray(picture), request.size, request.resize)
    return Frames(pixels[None], request.fps or 1.0, {"original": original})


def _file(source: Source) -> str | IO[bytes]:
    """Return what Pillow opens: a path, or a file at its start."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str):
        source.seek(0)
    return cast("str | IO[bytes]", source)
