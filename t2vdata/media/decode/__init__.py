"""Bytes to frames, by the extension that the bytes have in a shard."""

from __future__ import annotations

from t2vdata.errors import DecodeError
from t2vdata.types import Frames

PIXEL_EXTENSIONS = ("npy.zst", "mp4")


def decode(extension: str, data: bytes, *, fps: float, channels: int = 3) -> Frames:
    """Return the frames in a sample's pixel member: (T, H, W, channels) uint8.

    ``fps`` and ``channels`` are those of the sample's row in the index; exact arrays bring their own channels. Raises
    DecodeError when the bytes are not what the extension says.
    """
    match extension:
        case "npy.zst":
            from t2vdata.media.decode import lossless

            return Frames(lossless.decode(data), fps)
        case "mp4":
            from t2vdata.media.decode import pyav

            return Frames(pyav.decode(data, channels=channels), fps)
        case _:
            raise DecodeError(f"no decoder for .{extension}; expected one of {', '.join(PIXEL_EXTENSIONS)}")
