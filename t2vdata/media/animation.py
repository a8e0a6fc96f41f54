"""Animated WebP, PNG and AVIF: pictures whose frames have durations, read by Pillow as videos.

FFmpeg reads no animated WebP, and of an animated AVIF neither transparency nor orientation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from t2vdata.errors import DecodeError
from t2vdata.media import picture_files
from t2vdata.media.library_errors import pillow_errors
from t2vdata.media.media_file import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import ImageFile

# A JPEG may hold several pictures too (MPO: previews, stereo pairs), but they are no animation.
CODECS = {"WEBP": "webp", "PNG": "apng", "AVIF": "avif"}
"""FFmpeg's name for the codec of each format that can be animated."""
# Durations are stored in milliseconds, or in fractions that Pillow gives in milliseconds.
TICK_SECONDS = 0.001
# Browsers show a frame of 10 ms or less for 100 ms: many files say 0 for "at the usual speed".
_MAX_FLASH_SECONDS, _USUAL_SECONDS = 0.0101, 0.1


class AnimationFrame(NamedTuple):
    """A frame as it is shown, and when."""

    start_seconds: float
    end_seconds: float
    pixels: NDArray[np.uint8]
    """(H, W, 3): RGB, upright, transparent parts on white."""


def is_animated(source: Source, kind: str, *, max_pixels: int) -> bool:
    """Return whether a picture of this format has more than one frame."""
    if kind not in CODECS:
        return False
    with picture_files.opened(source, kind, max_pixels=max_pixels) as file:
        return _num_frames(file, kind) > 1


def frames(source: Source, kind: str, *, max_pixels: int) -> Iterator[AnimationFrame]:
    """Yield the frames of an animated picture, up to the first damage. Raises DecodeError if no frame comes before it."""
    import numpy as np

    with picture_files.opened(source, kind, max_pixels=max_pixels) as file:
        num_frames, seconds, orientation = _num_frames(file, kind), 0.0, None
        # The first picture of some PNG files is no part of the animation.
        first = int(getattr(file, "default_image", False))
        for number in range(first, first + num_frames):
            try:
                with pillow_errors(kind):
                    file.seek(number)
                pixels = np.asarray(picture_files.rgb(file, kind))
            except DecodeError:
                if number == first:
                    raise
                return
            orientation = orientation or picture_files.orientation(file)
            end = seconds + _duration_seconds(file)
            yield AnimationFrame(seconds, end, orientation.upright(pixels[None])[0])
            seconds = end


def _num_frames(file: ImageFile.ImageFile, kind: str) -> int:
    """Return the number of frames of the animation, as the file states it."""
    with pillow_errors(kind):
        return int(getattr(file, "n_frames", 1)) - int(getattr(file, "default_image", False))


def _duration_seconds(file: ImageFile.ImageFile) -> float:
    milliseconds = file.info.get("duration", 0)
    seconds = float(milliseconds) / 1000 if isinstance(milliseconds, int | float) else 0.0
    return seconds if seconds > _MAX_FLASH_SECONDS else _USUAL_SECONDS
