"""Convert decoded frames to RGB in the requested size: the one way for builds and for ``open_video`` with PyAV.

Transparent parts lie on white, as those of pictures do. BT.2020 colours of standard range become BT.709.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020
from t2vdata.media.geometry import check_scaled_size
from t2vdata.media.library_errors import ffmpeg_errors

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

# FFmpeg's AVColorSpace and AVColorRange: what libswscale converts. The other numbers up to 17 have names, and no conversion.
_CONVERTED_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
_MATRIX_NAMES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chroma-derived",
    13: "chroma-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_UNSPECIFIED_MATRIX, _UNSPECIFIED_RANGE, _MAX_RANGE = 2, 0, 2


def why_only_pyav(frame: av.VideoFrame) -> str | None:
    """Return why other backends would show other colours than ``RgbConverter`` does, or None."""
    if frame.colorspace not in _CONVERTED_MATRICES or frame.color_range > _MAX_RANGE:
        return "its colours are tagged with a reserved number"
    if bt2020.is_standard_range(frame):
        return "its colours are BT.2020"
    return "it is transparent" if has_alpha(frame) else None


def has_alpha(frame: av.VideoFrame) -> bool:
    """Return whether the pixel format of a frame has transparency."""
    pixel_format = frame.format
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def check_matrix(frame: av.VideoFrame) -> None:
    """Raise DecodeError for colours that FFmpeg cannot convert to RGB."""
    name = _MATRIX_NAMES.get(frame.colorspace)
    if name is not None and not frame.format.is_rgb:
        raise DecodeError(f"its colours are tagged as {name}, which FFmpeg cannot convert to RGB; convert it to BT.709 first")


class RgbConverter:
    """Converts frames with one set of libswscale's tables, which it keeps from frame to frame."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def rgb(self, frame: av.VideoFrame, height: int, width: int) -> Array:
        """Return a frame as RGB, (height, width, 3). Raises DecodeError for colours or sizes that cannot be converted."""
        check_scaled_size((frame.height, frame.width), (height, width))
        check_matrix(frame)
        _forget_reserved_tags(frame)
        with ffmpeg_errors():
            if bt2020.is_standard_range(frame):
                return self._scaled_rgb(self._bt709(frame), height, width)
            if has_alpha(frame):
                return self._scaled_rgb(self._on_white(frame), height, width)
            return self._scaled_rgb(frame, height, width)

    def grey(self, frame: av.VideoFrame, height: int, width: int) -> Array:
        """Return the luma of a frame, (height, width)."""
        check_matrix(frame)
        _forget_reserved_tags(frame)
        with ffmpeg_errors():
            grey: Array = self._reformatter.reformat(  # type: ignore[assignment]
                frame, width, height, "gray", interpolation="AREA", threads=1
            ).to_ndarray()
        return grey

    def _scaled_rgb(self, frame: av.VideoFrame, height: int, width: int) -> Array:
        # Bicubic is FFmpeg's default. The range is passed on, as PyAV would assume the limited one.
        pixels: Array = self._reformatter.reformat(  # type: ignore[assignment]
            frame, width, height, "rgb24", interpolation="BICUBIC", src_color_range=frame.color_range or None, threads=1
        ).to_ndarray()
        return pixels

    def _on_white(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame on white, in its own size: scaled first, hidden colours would bleed into visible ones."""
        import av
        import numpy as np

        rgba = self._reformatter.reformat(
            frame, format="rgba", interpolation="BICUBIC", src_color_range=frame.color_range or None, threads=1
        ).to_ndarray()
        if rgba[..., 3].min() == 255:
            return frame
        alpha = rgba[..., 3:].astype(np.uint16)
        on_white = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return av.VideoFrame.from_ndarray(on_white.astype(np.uint8), format="rgb24")

    def _bt709(self, frame: av.VideoFrame) -> av.VideoFrame:
        import av
        from av.video.reformatter import Interpolation

        # Without accurate rounding, libswscale makes 16 bits of 8 with an error of two levels.
        accurate, source_range = Interpolation.BICUBIC | Interpolation.ACCURATE_RND, frame.color_range or None
        rgb: NDArray[np.uint16] = self._reformatter.reformat(  # type: ignore[assignment]
            frame, format="rgb48le", interpolation=accurate, src_color_range=source_range, threads=1
        ).to_ndarray()
        return av.VideoFrame.from_ndarray(bt2020.to_bt709(rgb, frame.color_trc), format="rgb24")


def _forget_reserved_tags(frame: av.VideoFrame) -> None:
    """Treat numbers without a meaning as if the file stated none; libswscale would refuse the frame."""
    if frame.colorspace not in _CONVERTED_MATRICES:
        frame.colorspace = _UNSPECIFIED_MATRIX
    if frame.color_range > _MAX_RANGE:
        frame.color_range = _UNSPECIFIED_RANGE
