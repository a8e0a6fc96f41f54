"""Decode pictures as clips of one frame."""

from __future__ import annotations

from t2vdata.media import picture_files
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode.probe import Source
from t2vdata.media.geometry import check_scaled_size, crop_or_pad, scaled_size
from t2vdata.types import Frames


def read_still(source: Source, kind: str, request: ClipRequest, *, max_pixels: int) -> Frames:
    """Return a picture as a clip of one frame, upright, with transparent parts on white."""
    import numpy as np
    from PIL import Image

    with picture_files.opened(source, kind, max_pixels=max_pixels) as file:
        picture = picture_files.rgb(file, kind)
        orientation = picture_files.orientation(file)
    upright = orientation.upright(np.asarray(picture)[None])[0]
    coded = upright.shape[0], upright.shape[1]
    height, width = scaled_size(*coded, request.size, request.resize)
    original = {"height": coded[0], "width": coded[1], "codec": kind.lower(), "hdr": False}
    if (height, width) != coded:
        check_scaled_size(coded, (height, width))
        upright = np.asarray(Image.fromarray(upright).resize((width, height), Image.Resampling.BICUBIC))
    pixels = crop_or_pad(upright, request.size, request.resize)
    return Frames(pixels[None], request.fps or 1.0, {"original": original})
