"""Picture files that Pillow reads: JPEG, PNG, WebP and AVIF, of any pixel format, as RGB."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from t2vdata.errors import DecodeError
from t2vdata.media import media_file
from t2vdata.media.display_geometry import UPRIGHT, Orientation
from t2vdata.media.library_errors import pillow_errors
from t2vdata.media.media_file import Source

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# EXIF's tag for the orientation of a picture.
_ORIENTATION = 0x0112
# Pillow's modes of 16 bits, and the type of their bytes. PNG files of 16 bits were "I" before Pillow 11.
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
# Levels of 8 bits from one level of PNG's smaller depths to the next: `tRNS` counts in the latter.
_LEVEL_STEPS = {"L;2": 85, "L;4": 17}
# Position of the flags in the header of a WebP file of several parts, and two of them.
_WEBP_FLAGS, _WEBP_ANIMATION, _WEBP_ALPHA = 20, 0x02, 0x10


@contextmanager
def opened(source: Source, kind: str, *, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open a picture file of this format. Raises DecodeError for one that is damaged or over ``max_pixels``."""
    from PIL import Image, features

    if kind == "AVIF" and not features.check("avif"):
        raise DecodeError("an AVIF picture, which this Pillow cannot read; pip install 'pillow>=11.3'")
    # The limit is checked here, on each picture's own number of pixels.
    Image.MAX_IMAGE_PIXELS = None
    with media_file.opened(source) as opened_file, contextlib.ExitStack() as stack:
        with pillow_errors(kind):
            file = stack.enter_context(Image.open(_transparent(opened_file, kind), formats=[kind]))
        if file.width * file.height > max_pixels:
            raise DecodeError(f"a picture of {file.width}x{file.height}, over the limit of {max_pixels} pixels")
        yield file


def _transparent(file: io.BufferedIOBase, kind: str) -> IO[bytes]:
    """Return what Pillow opens: the file, or a copy of an animated WebP in which it finds the transparency of the canvas.

    Frames of an animation may leave parts of the canvas free. Without the flag for transparency, which then concerns the frames
    alone, Pillow would show those parts in black.
    """
    head = file.read(_WEBP_FLAGS + 1)
    file.seek(0)
    if kind != "WEBP" or head[12:16] != b"VP8X" or not head[_WEBP_FLAGS] & _WEBP_ANIMATION:
        return cast("IO[bytes]", file)
    data = bytearray(file.read())
    data[_WEBP_FLAGS] |= _WEBP_ALPHA
    return io.BytesIO(data)


def orientation(file: Image.Image) -> Orientation:
    """Return how EXIF says that a loaded picture is to be turned; upright if the tags are missing or damaged."""
    try:
        with pillow_errors("EXIF"):
            return Orientation.of_exif(file.getexif().get(_ORIENTATION))
    except DecodeError:
        return UPRIGHT


def rgb(file: ImageFile.ImageFile, kind: str) -> Image.Image:
    """Return the current frame of a picture file as RGB of 8 bits: ``value >> 8`` of 16 bits, transparent parts on white."""
    from PIL import Image

    with pillow_errors(kind):
        level_step = _LEVEL_STEPS.get(_raw_mode(file), 1)
        file.load()
        picture = _eight_bits(file) if file.mode in _SIXTEEN_BITS else file
        key = picture.info.get("transparency")
        if isinstance(key, tuple) and max(key) > 255:
            # Pillow keeps the upper byte of each value of RGB in 16 bits, but both of its transparent colour.
            picture.info["transparency"] = tuple(value >> 8 for value in key)
        elif isinstance(key, int) and picture.mode == "L":
            picture.info["transparency"] = key * level_step
        if picture.has_transparency_data:
            background = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(background, picture.convert("RGBA"))
        return picture.convert("RGB")


def _raw_mode(file: ImageFile.ImageFile) -> str:
    """Return how pixels are packed in a file that is not loaded yet."""
    arguments = file.tile[0].args if file.tile else ""
    return arguments if isinstance(arguments, str) else ""


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return grey of 16 bits as grey of 8 bits, with transparency if the picture has any."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture).astype(np.int64).clip(0, 65535)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    key = picture.info.get("transparency")
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))
