"""Decode selected frames of a sample's pixel member straight into the caller's memory, without avoidable copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode import decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]


def decode(
    extension: str,
    data: bytes | memoryview,
    frames: range | NDArray[Any],
    *,
    channels: int,
    out: Array | None = None,
    max_pixels: int | None = None,
) -> Array:
    """Decode frames of a pixel member, (T, H, W, channels) uint8: into ``out`` if they fit there, else into new memory.

    ``frames`` are T numbers: a range of step 1, or an array in any order, repeats allowed. ``channels`` and
    ``max_pixels``, of all frames, come from the member's row in the index. Raises DecodeError if the bytes are not what the
    extension says, hold fewer frames, or more pixels.
    """
    content = bytes(data)
    if extension == "mp4":
        from t2vdata.media.decode import fast_mp4

        numbers = frames if isinstance(frames, range) else frames.tolist()
        pixels = fast_mp4.decode(content, numbers, channels=channels, out=out, max_pixels=max_pixels)
        if pixels is not None:
            return pixels
    return _take(decoder(extension)(content, channels, max_pixels), frames, out)


def _take(pixels: Array, frames: range | NDArray[Any], out: Array | None) -> Array:
    import numpy as np

    fits = out is not None and out.shape[1:] == pixels.shape[1:]
    if isinstance(frames, range):
        if frames.start < 0 or frames.stop > len(pixels):
            raise DecodeError(f"no frame {frames[-1]}: there are {len(pixels)}")
        if not fits or out is None:
            return pixels[frames.start : frames.stop]
        out[:] = pixels[frames.start : frames.stop]
        return out
    if frames.min() < 0 or frames.max() >= len(pixels):
        raise DecodeError(f"no frame {frames.max()}: there are {len(pixels)}")
    # `clip` writes straight into out; the numbers were checked above.
    selected: Array = np.take(pixels, frames, axis=0, out=out if fits else None, mode="clip")
    return selected
