"""Decode frames: ``decode`` for the pixel members of shards, ``open_video`` for any video file, at indices or times."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2vdata.media.decode.auto import BackendReport, survey
    from t2vdata.media.decode.opening import open_video
    from t2vdata.media.decode.video import Video

__all__ = ["PIXEL_EXTENSIONS", "BackendReport", "Video", "decode", "decoder", "open_video", "survey"]

PIXEL_EXTENSIONS = ("npy.zst", "mp4", "jpg")

_MODULES = {
    "BackendReport": "t2vdata.media.decode.auto",
    "Video": "t2vdata.media.decode.video",
    "open_video": "t2vdata.media.decode.opening",
    "survey": "t2vdata.media.decode.auto",
}


def decode(extension: str, data: bytes, *, fps: float, channels: int = 3, max_pixels: int | None = None) -> Frames:
    """Decode a sample's pixel member: (T, H, W, channels) uint8.

    ``fps``, ``channels`` and ``max_pixels``, T * H * W, come from the sample's row in the index; ``npy.zst`` has its own
    channels. Raises DecodeError if the bytes are not what the extension says, and before it makes more pixels than
    ``max_pixels``.
    """
    return Frames(decoder(extension)(data, channels, max_pixels), fps)


# Cached because every clip calls it, and an import takes time even when the module is loaded already.
@functools.cache
def decoder(extension: str) -> Callable[[bytes, int, int | None], NDArray[np.uint8]]:
    """Return the function that decodes all frames, (T, H, W, channels) uint8.

    It takes a member's bytes, its channels, and the most pixels it may have, or None.
    """
    match extension:
        case "npy.zst":
            from t2vdata.media.decode import lossless

            return lambda data, channels, max_pixels: lossless.decode(data, max_pixels=max_pixels)
        case "mp4":
            from t2vdata.media.decode import pyav

            return lambda data, channels, max_pixels: pyav.decode(data, channels=channels, max_pixels=max_pixels)
        case "jpg":
            from t2vdata.media import jpeg_sheet

            return lambda data, channels, max_pixels: jpeg_sheet.decode(data, channels=channels, max_pixels=max_pixels)
        case _:
            raise DecodeError(f"no decoder for .{extension}; expected one of {', '.join(PIXEL_EXTENSIONS)}")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 't2vdata.media.decode' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
