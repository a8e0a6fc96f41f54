"""Encode frames as the pixel member of a sample: ``Lossless``, ``H264`` or ``Jpeg``.

Each encoding gives the same bytes for the same frames and the same version of its library, in any number of processes. The
version is part of ``Encoding.identity`` and so of a build's fingerprint: builds with the same fingerprint have the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from t2vdata.errors import EncodeError, RequestError, unknown_name
from t2vdata.media import encode_h264, jpeg_sheet, npy, picture_files
from t2vdata.media.decode import containers
from t2vdata.media.display_geometry import UPRIGHT
from t2vdata.media.picture_format import picture_format
from t2vdata.types import Frames


@dataclass(frozen=True, slots=True)
class Encoded:
    """The pixel member of a sample, and its columns in the index."""

    data: bytes
    num_frames: int
    """Frames that really decode; H.264 is decoded back to count them."""
    pts: Sequence[int] | None = None
    """Time stamp of each frame, in ``time_base``; None where a frame's time is its index over fps."""
    key_frames: Sequence[bool] | None = None
    """Whether each frame decodes without the frames before it; None where all do."""
    time_base: str | None = None
    """Seconds in one unit of ``pts``, as a fraction: ``1/15360``."""


@dataclass(frozen=True)
class Lossless:
    """``.npy.zst``: a NumPy array file (T, H, W, C) uint8 in one Zstandard frame."""

    name: ClassVar[str] = "lossless"
    extension: ClassVar[str] = "npy.zst"
    grey_level: int = -1
    """Zstandard's level for grey clips. Drawn digits come out 4 % larger than at level 1, no larger in a tar, and faster."""
    rgb_level: int = 3
    """Zstandard's level for colour. Levels below 1 skip entropy coding, which photographs need."""

    def check(self, height: int, width: int) -> None:
        """Accept every size."""

    def fit(self, frames: Frames) -> Frames:
        """Return the frames unchanged: every size fits."""
        return frames

    def identity(self) -> dict[str, Any]:
        import zstandard

        library = "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
        levels = {"grey_level": self.grey_level, "rgb_level": self.rgb_level}
        return {"name": self.name, **levels, "checksum": True, "library": library}

    def encode(self, frames: Frames) -> Encoded:
        level = self.grey_level if frames.channels == 1 else self.rgb_level
        return Encoded(npy.compress(frames.data, level), frames.num_frames)


@dataclass(frozen=True)
class H264:
    """``.mp4``: H.264 in yuv420p, BT.601 limited range. No B frames and no loop filter, so that it decodes fast."""

    name: ClassVar[str] = "h264"
    extension: ClassVar[str] = "mp4"
    gop: int = 16
    """Frames from one key frame to the next; each group decodes on its own."""
    crf: int = 18
    """x264's constant rate factor, 0 (best) to 51."""

    def __post_init__(self) -> None:
        if self.gop < 1:
            raise RequestError(f"a group of {self.gop} frames (--gop); expected 1 or more")
        if not 0 <= self.crf <= 51:
            raise RequestError(f"a constant rate factor of {self.crf} (--crf); expected 0 (best) to 51")

    def check(self, height: int, width: int) -> None:
        """Raise RequestError for odd sizes: 4:2:0 has one chroma value for 2x2 pixels."""
        if height % 2 or width % 2:
            raise RequestError(f"h264 cannot hold {width}x{height}; choose an even size, or --encoding lossless")

    def fit(self, frames: Frames) -> Frames:
        """Return the frames without the last row or column if their number is odd: files keep their size with ``--size 0``."""
        height, width = frames.height - frames.height % 2, frames.width - frames.width % 2
        if (height, width) == (frames.height, frames.width) or 0 in (height, width):
            return frames
        return dataclasses.replace(frames, data=frames.data[:, :height, :width])

    def identity(self) -> dict[str, Any]:
        import av

        libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
        return {
            "name": self.name,
            "gop": self.gop,
            "crf": self.crf,
            "library": f"PyAV {av.__version__}, libavcodec {libavcodec}",
        }

    def encode(self, frames: Frames) -> Encoded:
        from t2vdata.media.decode import pyav

        try:
            self.check(frames.height, frames.width)
        except RequestError as error:
            # Only this clip fails; a build whose clips all have the same size has checked it before it started.
            raise EncodeError(str(error)) from error
        data = encode_h264.mp4(frames, gop=self.gop, crf=self.crf)
        timing = pyav.read_timing(data)
        if len(timing.pts) != frames.num_frames:
            raise EncodeError(f"encoded {frames.num_frames} frames, but {len(timing.pts)} decode")
        return Encoded(data, len(timing.pts), timing.pts, timing.key_frames, timing.time_base)


@dataclass(frozen=True)
class Jpeg:
    """``.jpg``: all frames in one JPEG picture (see ``sheet``). Decodes faster than H.264 and takes more bytes."""

    name: ClassVar[str] = "jpeg"
    extension: ClassVar[str] = "jpg"
    quality: int = 90
    """JPEG quality, 1 to 100. At 90, clips of 64x64 have a PSNR of about 34 dB; 95 adds 2 dB for 40 % more bytes."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise RequestError(f"a JPEG quality of {self.quality} (--quality); expected 1 to 100 (best)")

    def fit(self, frames: Frames) -> Frames:
        """Return the frames unchanged: every size fits."""
        return frames

    def check(self, height: int, width: int) -> None:
        """Accept every size. Whether a sheet is too large also depends on the number of frames: ``encode`` checks it."""

    def identity(self) -> dict[str, Any]:
        import PIL
        from PIL import features

        library = f"Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}"
        return {"name": self.name, "quality": self.quality, "library": library}

    def encode(self, frames: Frames) -> Encoded:
        return Encoded(jpeg_sheet.encode(frames.data, self.quality), frames.num_frames)


Encoding = Lossless | H264 | Jpeg
ENCODINGS: dict[str, type[Lossless] | type[H264] | type[Jpeg]] = {"lossless": Lossless, "h264": H264, "jpeg": Jpeg}


def keep_original(data: bytes, frames: Frames) -> Encoded:
    """Return a JPEG file unchanged, as the encoding of ``frames``, which were decoded from it.

    Raises EncodeError for any other format, and for a picture with an EXIF rotation, which readers of shards would ignore.
    """
    kind = picture_format(data[: containers.HEAD_BYTES])
    if kind != "JPEG":
        raise EncodeError(f"a {kind or 'video'} file, but --keep-original keeps only JPEG; leave out --keep-original")
    with picture_files.opened(data, kind, max_pixels=frames.height * frames.width) as picture:
        if picture.size != (frames.width, frames.height) or picture_files.orientation(picture) != UPRIGHT:
            raise EncodeError("a picture that its EXIF tag rotates cannot be kept as it is; leave out --keep-original")
    return Encoded(data, frames.num_frames)


def encoding(name: str, **settings: int) -> Encoding:
    """Return the encoding called ``name``. Raises RequestError for an unknown name or setting."""
    if name not in ENCODINGS:
        raise unknown_name("encoding", name, ENCODINGS)
    encoding_class = ENCODINGS[name]
    for setting in settings:
        if setting not in encoding_class.__dataclass_fields__:
            raise RequestError(f"--{setting} does not apply to --encoding {name}")
    return encoding_class(**settings)
