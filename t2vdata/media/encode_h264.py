"""Encode frames as H.264 in MP4 with x264: the same bytes for the same frames on any machine."""

from __future__ import annotations

import functools
import io
from fractions import Fraction
from typing import TYPE_CHECKING

from t2vdata.media.color import BT601, LIMITED_RANGE, to_yuv420
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def mp4(frames: Frames, *, gop: int, crf: int) -> bytes:
    """Return an MP4 file of ``frames`` in closed groups of ``gop``, without B frames, at x264's rate factor ``crf``."""
    import av

    rate = Fraction(frames.fps).limit_denominator(100_000)
    file = io.BytesIO()
    # faststart puts the index first, for readers that stream; bitexact leaves out the writer's name and time.
    options = {"movflags": "faststart", "fflags": "+bitexact"}
    # To move the index, the muxer opens its own output again for reading: it gets what is written so far.
    reopen = lambda *_: io.BytesIO(file.getvalue())  # noqa: E731
    with av.open(file, "w", format="mp4", options=options, io_open=reopen) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.width, frames.height, "yuv420p"
        stream.time_base = 1 / rate
        context = stream.codec_context
        # One thread: with more, x264 divides its work by their number and the bytes change.
        context.thread_count = 1
        context.gop_size = gop
        context.max_b_frames = 0
        context.color_range, context.colorspace = LIMITED_RANGE, BT601
        context.color_primaries = context.color_trc = BT601
        context.options = {"tune": "fastdecode", "crf": str(crf), **_x264_settings(frames.channels, gop)}
        for index, planes in enumerate(zip(*to_yuv420(frames.data), strict=True)):
            picture = av.VideoFrame(frames.width, frames.height, "yuv420p")
            for plane, values in zip(picture.planes, planes, strict=True):
                plane.update(_padded(values, plane.line_size).tobytes())
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()


def _x264_settings(channels: int, gop: int) -> dict[str, str]:
    """Return x264's settings for closed groups of ``gop`` frames.

    Real clips get CAVLC (part of ``fastdecode``), which decodes 1.5 times as fast. Drawn grey clips have too few coefficients
    to gain from it, while x264 spends 2.5 ms on CAVLC's tables at each start: they get CABAC and a faster preset.
    """
    groups = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:threads=1:lookahead-threads=1{_asm_setting()}"
    if channels == 1:
        return {"preset": "ultrafast", "x264-params": f"{groups}:cabac=1"}
    return {"preset": "veryfast", "x264-params": groups}


@functools.cache
def _asm_setting() -> str:
    """Return the setting that keeps x264 from using AVX-512, where the processor has it.

    With AVX-512, x264 165 encodes about one small clip in a hundred differently from one time to the next, depending on where
    its buffers lie in memory. AVX2 gives the bytes of the other 99, at the same speed.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            has_avx512 = any(" avx512" in line for line in file if line.startswith("flags"))
    except OSError:
        # Not Linux.
        return ""
    return ":asm=avx2" if has_avx512 else ""


def _padded(values: NDArray[np.uint8], line_size: int) -> NDArray[np.uint8]:
    """Return a plane with lines as long as FFmpeg keeps them in memory."""
    import numpy as np

    if values.shape[1] == line_size:
        return np.ascontiguousarray(values)
    wide = np.zeros((values.shape[0], line_size), np.uint8)
    wide[:, : values.shape[1]] = values
    return wide
