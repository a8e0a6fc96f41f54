"""Frames to bytes: exact arrays, H.264, or a JPEG sheet.

All give the same bytes for the same frames and the same version of the encoding library, on any number of processes; the
version is part of what a build is (``Encoding.identity``), so two builds with one fingerprint have one content.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from t2vdata.errors import EncodeError, RequestError, unknown_name
from t2vdata.media import sheet
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Encoded:
    """The pixel member of a sample, and what the index says of it."""

    data: bytes
    num_frames: int
    """Frames that really decode, counted by decoding ``data`` back where the coding is lossy."""
    pts: Sequence[int] | None = None
    """Time stamp of each frame, in ``time_base``; None where a frame's time is its index over fps."""
    key_frames: Sequence[bool] | None = None
    """Whether each frame can be decoded without those before it; None where all can."""
    time_base: str | None = None
    """Seconds of one time stamp unit, as a fraction: ``1/15360``."""


@dataclass(frozen=True)
class Lossless:
    """``.npy.zst``: a NumPy array file (T, H, W, C) uint8 in one Zstandard frame."""

    name: ClassVar[str] = "lossless"
    extension: ClassVar[str] = "npy.zst"
    grey_level: int = -1
    """Zstandard's level for grey clips: drawn digits are 4 % larger than at 1, in a tar not at all, and take less time."""
    rgb_level: int = 3
    """Zstandard's level for colour: below 1 it would leave out entropy coding, which photographs need."""

    def check(self, height: int, width: int) -> None:
        """Accept every size."""

    def identity(self) -> dict[str, Any]:
        import zstandard

        library = "zstd " + ".".join(map(str, zstandard.ZSTD_VERSION))
        return {"name": self.name, "grey_level": self.grey_level, "rgb_level": self.rgb_level, "library": library}

    def encode(self, frames: Frames) -> Encoded:
        level = self.grey_level if frames.channels == 1 else self.rgb_level
        return Encoded(_zstd(level).compress(_npy_file(frames.data)), frames.num_frames)


@dataclass(frozen=True)
class H264:
    """``.mp4``: H.264 in yuv420p, BT.601 in limited range, without B frames or loop filter, so that it decodes fast."""

    name: ClassVar[str] = "h264"
    extension: ClassVar[str] = "mp4"
    gop: int = 16
    """Frames from one key frame to the next; each such group decodes by itself."""
    crf: int = 18
    """x264's constant rate factor, 0 (best) to 51."""

    def __post_init__(self) -> None:
        if self.gop < 1:
            raise RequestError(f"a group of {self.gop} frames (--gop); expected 1 or more")
        if not 0 <= self.crf <= 51:
            raise RequestError(f"a constant rate factor of {self.crf} (--crf); expected 0 (best) to 51")

    def check(self, height: int, width: int) -> None:
        """Raise RequestError for odd sizes: 4:2:0 chroma has one value for two pixels."""
        if height % 2 or width % 2:
            raise RequestError(f"h264 cannot hold {width}x{height}; choose an even size, or --encoding lossless")

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
            # One clip of many; when all have one size, the build has asked before it began.
            raise EncodeError(str(error)) from error
        data = self._mp4(frames)
        timing = pyav.read_timing(data)
        if len(timing.pts) != frames.num_frames:
            raise EncodeError(f"encoded {frames.num_frames} frames, but {len(timing.pts)} decode")
        return Encoded(data, len(timing.pts), timing.pts, timing.key_frames, timing.time_base)

    def _mp4(self, frames: Frames) -> bytes:
        import av

        rate = Fraction(frames.fps).limit_denominator(100_000)
        file = io.BytesIO()
        # faststart puts the index first, for readers that stream; bitexact leaves out the writer's name and time.
        options = {"movflags": "faststart", "fflags": "+bitexact"}
        # To move the index, the muxer opens its own output once more for reading: it gets what is written so far.
        reopen = lambda *_: io.BytesIO(file.getvalue())  # noqa: E731
        with av.open(file, "w", format="mp4", options=options, io_open=reopen) as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = frames.width, frames.height, "yuv420p"
            stream.time_base = 1 / rate
            context = stream.codec_context
            # One thread: with more, x264 divides its work by their number and the bytes change.
            context.thread_count = 1
            context.gop_size = self.gop
            context.max_b_frames = 0
            context.color_range, context.colorspace = _LIMITED, _BT601
            context.color_primaries = context.color_trc = _BT601
            context.options = {"tune": "fastdecode", "crf": str(self.crf), **_coder(frames.channels, self.gop)}
            for index, planes in enumerate(zip(*_to_yuv420(frames.data), strict=True)):
                picture = av.VideoFrame(frames.width, frames.height, "yuv420p")
                for plane, values in zip(picture.planes, planes, strict=True):
                    plane.update(_padded(values, plane.line_size).tobytes())
                picture.pts, picture.time_base = index, 1 / rate
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return file.getvalue()


@dataclass(frozen=True)
class Jpeg:
    """``.jpg``: all frames in one JPEG picture (see ``sheet``); decodes faster than H.264, at more bytes."""

    name: ClassVar[str] = "jpeg"
    extension: ClassVar[str] = "jpg"
    quality: int = 90
    """JPEG's quality, 1 to 100. At 90, clips of 64x64 keep about 34 dB; 95 takes 40 % more bytes for 2 dB."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise RequestError(f"a JPEG quality of {self.quality} (--quality); expected 1 to 100 (best)")

    def check(self, height: int, width: int) -> None:
        """Accept every size; a sheet too large is known when the number of frames is."""

    def identity(self) -> dict[str, Any]:
        import PIL
        from PIL import features

        library = f"Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}"
        return {"name": self.name, "quality": self.quality, "library": library}

    def encode(self, frames: Frames) -> Encoded:
        return Encoded(sheet.encode(frames.data, self.quality), frames.num_frames)


Encoding = Lossless | H264 | Jpeg
ENCODINGS: dict[str, type[Lossless] | type[H264] | type[Jpeg]] = {"lossless": Lossless, "h264": H264, "jpeg": Jpeg}

# The tag of EXIF that says how a picture is turned.
_ORIENTATION = 0x0112
# Of FFmpeg's AVColorRange and AVColorSpace.
_LIMITED, _BT601 = 1, 6


def as_it_is(data: bytes, frames: Frames) -> Encoded:
    """Return the bytes of a JPEG picture as they are, as the encoding of ``frames``, which were decoded from it.

    Raises EncodeError for another kind of file, and for one that is turned by a tag, of which readers of the shard do not know.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        if picture.format != "JPEG":
            raise EncodeError(f"a {picture.format} file, where --keep-original keeps JPEG; leave that out")
        if picture.size != (frames.width, frames.height) or picture.getexif().get(_ORIENTATION, 1) != 1:
            raise EncodeError("a picture that is turned by its EXIF tag cannot be kept as it is; leave out --keep-original")
    return Encoded(data, frames.num_frames)


def encoding(name: str, **settings: int) -> Encoding:
    """Return the encoding called ``name`` with its settings. Raises RequestError for a name or setting that is not known."""
    if name not in ENCODINGS:
        raise unknown_name("encoding", name, ENCODINGS)
    chosen = ENCODINGS[name]
    for setting in settings:
        if setting not in chosen.__dataclass_fields__:
            raise RequestError(f"--{setting} does not apply to --encoding {name}")
    return chosen(**settings)


def _coder(channels: int, gop: int) -> dict[str, str]:
    """Return x264's settings for closed groups of ``gop`` frames.

    Real clips get CAVLC (part of ``fastdecode``), which decodes 1.5 times as fast. Drawn grey ones have too few coefficients
    for that to be felt, while x264 spends 2.5 ms on CAVLC's tables at each start: they get CABAC and a faster preset.
    """
    groups = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:threads=1:lookahead-threads=1{_steady_asm()}"
    if channels == 1:
        return {"preset": "ultrafast", "x264-params": f"{groups}:cabac=1"}
    return {"preset": "veryfast", "x264-params": groups}


@functools.cache
def _steady_asm() -> str:
    """Return the setting that keeps x264 from AVX-512, where there is any.

    With it, x264 165 codes one small clip in a hundred or so otherwise than before, by where its buffers lie in memory.
    The bytes are those of most other times, and the speed is the same.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            has_avx512 = any(" avx512" in line for line in file if line.startswith("flags"))
    except OSError:
        # Not Linux.
        return ""
    return ":asm=avx2" if has_avx512 else ""


def _padded(values: NDArray[np.uint8], line_size: int) -> NDArray[np.uint8]:
    """Return a plane with its lines as long as FFmpeg keeps them in memory."""
    import numpy as np

    if values.shape[1] == line_size:
        return np.ascontiguousarray(values)
    wide = np.zeros((values.shape[0], line_size), np.uint8)
    wide[:, : values.shape[1]] = values
    return wide


def canvas(num_frames: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return black frames (T, H, W, C) to draw on; what is drawn there is encoded without being copied first.

    They lie in a buffer that begins with the header of their NumPy file.
    """
    import numpy as np

    header = _npy_header((num_frames, height, width, channels))
    buffer = np.zeros(len(header) + num_frames * height * width * channels, np.uint8)
    buffer[: len(header)] = np.frombuffer(header, np.uint8)
    return buffer[len(header) :].reshape(num_frames, height, width, channels)


@functools.cache
def _zstd(level: int) -> Any:
    import zstandard

    return zstandard.ZstdCompressor(level=level)


def _npy_file(data: NDArray[np.uint8]) -> NDArray[np.uint8] | bytes:
    """Return the NumPy file of an array: the buffer that it lies in when that is one, else a copy."""
    import numpy as np

    header = _npy_header(data.shape)
    buffer = data.base
    if buffer is not None and buffer.shape == (len(header) + data.size,) and data.flags.c_contiguous:
        front = buffer[: len(header)]
        # An array of that size that does not reach into the front is all that comes behind it.
        if front.tobytes() == header and not np.may_share_memory(front, data):
            return buffer
    return header + data.tobytes()


@functools.lru_cache(maxsize=64)
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a NumPy file, version 1.0, for an array of uint8.

    Written out, because numpy's own is padded differently from one of its versions to the next.
    """
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    # The data begins at a multiple of 64 bytes: 10 before the text, 1 after it.
    padded = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("ascii")


Planes = tuple["NDArray[np.uint8]", "NDArray[np.uint8]", "NDArray[np.uint8]"]


def _to_yuv420(data: NDArray[np.uint8]) -> Planes:
    """Return (T, H, W, 1 or 3) frames as Y (T, H, W), U and V (T, H/2, W/2): BT.601, limited range, integers throughout."""
    import numpy as np

    num_frames, height, width, channels = data.shape
    half = (num_frames, height // 2, width // 2)
    if channels == 1:
        levels = ((np.arange(256) * 219 + 127) // 255 + 16).astype(np.uint8)
        neutral = np.full(half, 128, np.uint8)
        return levels[data[..., 0]], neutral, neutral
    red, green, blue = (np.ascontiguousarray(data[..., channel]).astype(np.int32) for channel in range(3))
    luma = ((66 * red + 129 * green + 25 * blue + 128) >> 8) + 16
    # Chroma of the mean of four pixels; their sum is shifted two bits further instead of divided first.
    red, green, blue = (_sum_of_quads(channel) for channel in (red, green, blue))
    blueness = ((-38 * red - 74 * green + 112 * blue + 512) >> 10) + 128
    redness = ((112 * red - 94 * green - 18 * blue + 512) >> 10) + 128
    return luma.astype(np.uint8), blueness.astype(np.uint8), redness.astype(np.uint8)


def _sum_of_quads(channel: NDArray[np.int32]) -> NDArray[np.int32]:
    rows: NDArray[np.int32] = channel[:, 0::2] + channel[:, 1::2]
    return rows[..., 0::2] + rows[..., 1::2]
