"""Decode pictures as clips of one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2vdata.media import bt2020, heic, heif_boxes, picture_files
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.geometry import check_scaled_size, crop_or_pad, scaled_size
from t2vdata.media.media_file import Source
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def read_still(source: Source, kind: str, request: ClipRequest, *, max_pixels: int) -> Frames:
    """Return a picture as a clip of one frame, upright, with transparent parts on white."""
    import numpy as np
    from PIL import Image

    picture, is_hdr = _upright(source, kind, max_pixels)
    size = picture.shape[0], picture.shape[1]
    height, width = scaled_size(*size, request.size, request.resize)
    original = {"height": size[0], "width": size[1], "codec": kind.lower(), "hdr": is_hdr}
    if (height, width) != size:
        check_scaled_size(size, (height, width))
        picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    pixels = crop_or_pad(picture, request.size, request.resize)
    return Frames(pixels[None], request.fps or 1.0, {"original": original})


def _upright(source: Source, kind: str, max_pixels: int) -> tuple[NDArray[np.uint8], bool]:
    """Return the pixels of a picture (H, W, 3), and whether it has a high dynamic range."""
    import numpy as np

    if kind == "HEIC":
        picture = heic.read(source, max_pixels=max_pixels)
        return picture.pixels, picture.is_hdr
    with picture_files.opened(source, kind, max_pixels=max_pixels) as file:
        pixels = np.asarray(picture_files.rgb(file, kind))
        upright = picture_files.orientation(file).upright(pixels[None])[0]
    is_hdr = kind == "AVIF" and heif_boxes.transfer(heic.first_bytes(source)) in bt2020.HDR_TRANSFERS
    return upright, is_hdr
