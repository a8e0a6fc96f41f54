"""Bytes to frames: a shard's members by their extension, and any video file at the frames or times that are wanted."""

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

    from t2vdata.media.decode.auto import Verdict, survey
    from t2vdata.media.decode.video import Video, open_video

__all__ = ["PIXEL_EXTENSIONS", "Verdict", "Video", "decode", "decoder", "open_video", "survey"]

PIXEL_EXTENSIONS = ("npy.zst", "mp4", "jpg")

_HOMES = {
    "Verdict": "t2vdata.media.decode.auto",
    "Video": "t2vdata.media.decode.video",
    "open_video": "t2vdata.media.decode.video",
    "survey": "t2vdata.media.decode.auto",
}


def decode(extension: str, data: bytes, *, fps: float, channels: int = 3) -> Frames:
    """Return the frames in a sample's pixel member: (T, H, W, channels) uint8.

    ``fps`` and ``channels`` are those of the sample's row in the index; exact arrays bring their own channels. Raises
    DecodeError when the bytes are not what the extension says.
    """
    return Frames(decoder(extension)(data, channels), fps)


# Kept, as every clip asks: an import costs something also when it was made before.
@functools.cache
def decoder(extension: str) -> Callable[[bytes, int], NDArray[np.uint8]]:
    """Return what makes all frames, (T, H, W, channels) uint8, of the bytes of a pixel member and its number of channels."""
    match extension:
        case "npy.zst":
            from t2vdata.media.decode import lossless

            return lambda data, channels: lossless.decode(data)
        case "mp4":
            from t2vdata.media.decode import pyav

            return lambda data, channels: pyav.decode(data, channels=channels)
        case "jpg":
            from t2vdata.media import sheet

            return lambda data, channels: sheet.decode(data, channels=channels)
        case _:
            raise DecodeError(f"no decoder for .{extension}; expected one of {', '.join(PIXEL_EXTENSIONS)}")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 't2vdata.media.decode' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
