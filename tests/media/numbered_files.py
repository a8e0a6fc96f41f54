"""Small videos whose frames carry their number, in the kinds of file in which seeking goes wrong."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

NUM_FRAMES = 60
RATE = 25
HEIGHT, WIDTH = 48, 64


@dataclass(frozen=True)
class Kind:
    """How a file is encoded and stored."""

    container: str
    codec: str
    encoder: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    first_stamp: int = 0
    marks_all: bool = False
    """Whether the table of key frames is lost, so that every frame counts as a key frame."""
    pixel_format: str = "yuv420p"


def _x264(parameters: str) -> dict[str, str]:
    return {"x264-params": f"keyint=12:scenecut=0:{parameters}", "preset": "veryfast", "crf": "15"}


def _x265(parameters: str) -> dict[str, str]:
    return {"x265-params": f"keyint=12:scenecut=0:log-level=none:{parameters}", "preset": "superfast"}


_OPEN = _x264("bframes=3:open-gop=1:min-keyint=6")
_CLOSED = _x264("bframes=3")
_MPEG = {"g": "12", "bf": "2", "b": "900k"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_SHORT_FRAGMENTS = {"movflags": "empty_moov+default_base_moof", "frag_duration": "300000"}

KINDS = {
    "closed": Kind("mp4", "libx264", _CLOSED),
    "closed-mkv": Kind("matroska", "libx264", _CLOSED),
    "open": Kind("mp4", "libx264", _OPEN),
    "open-pyramid-mkv": Kind("matroska", "libx264", _x264("bframes=5:b-pyramid=normal:open-gop=1:min-keyint=6")),
    "open-fragments": Kind("mp4", "libx264", _OPEN, _FRAGMENTS),
    "closed-fragments": Kind("mp4", "libx264", _CLOSED, _SHORT_FRAGMENTS),
    "hevc-open": Kind("mp4", "libx265", _x265("bframes=3:open-gop=1")),
    "hevc-open-mkv": Kind("matroska", "libx265", _x265("bframes=3:open-gop=1")),
    "intra-refresh": Kind("mp4", "libx264", _x264("intra-refresh=1:bframes=0")),
    "intra-refresh-mkv": Kind("matroska", "libx264", _x264("intra-refresh=1:bframes=0")),
    "mpeg4": Kind("mp4", "mpeg4", _MPEG),
    "mpeg2-mov": Kind("mov", "mpeg2video", _MPEG),
    "mpeg2-mkv": Kind("matroska", "mpeg2video", _MPEG),
    "no-key-table": Kind("mp4", "libx264", _CLOSED, marks_all=True),
    "mpeg4-no-key-table": Kind("mp4", "mpeg4", _MPEG, marks_all=True),
    "below-zero": Kind("matroska", "libx264", _x264("bframes=0"), {"avoid_negative_ts": "disabled"}, first_stamp=-13),
    "late": Kind("mp4", "libx264", _CLOSED, first_stamp=130),
    "vp8": Kind("webm", "libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "10", "deadline": "realtime"}),
    "vp9": Kind("webm", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "mpegts": Kind("mpegts", "libx264", _OPEN),
    "mpeg-ps": Kind("mpeg", "mpeg2video", _MPEG),
    "avi": Kind("avi", "mpeg4", _MPEG),
    "flv": Kind("flv", "libx264", _CLOSED),
    "gif": Kind("gif", "gif", pixel_format="rgb8"),
}


def pictures(numbers: Sequence[int], *, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return (T, H, W, 3): the number of each frame in eight bars, bit 0 at the left, white for 1."""
    bits = (np.array(numbers)[:, None] >> np.arange(8)) & 1
    bars = np.where(bits, 220, 30).astype(np.uint8).repeat(width // 8, axis=1)
    return np.broadcast_to(bars[:, None, :, None], (len(numbers), height, width, 3))


def numbers_in(frames: NDArray[np.uint8]) -> list[int]:
    """Return the number drawn in each frame, (T, H, W, C) of any size."""
    middles = (np.arange(8) * 2 + 1) * frames.shape[2] // 16
    bits = frames[:, frames.shape[1] // 2, middles, 0] > 128
    return [int(number) for number in bits @ (1 << np.arange(8))]


@functools.cache
def make(name: str) -> bytes:
    """Return the file of a kind, encoded once per process."""
    kind = KINDS[name]
    data = encode(kind, range(kind.first_stamp, kind.first_stamp + NUM_FRAMES), rate=Fraction(RATE))
    return data.replace(b"stss", b"free") if kind.marks_all else data


def encode(kind: Kind, stamps: Sequence[int], *, rate: Fraction, durations: Sequence[int] = ()) -> bytes:
    """Return a file whose frames, numbered from 0, have these time stamps and durations, in units of 1 / rate."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind.container, options=kind.muxer) as out:
        stream = out.add_stream(kind.codec, rate=rate, options=kind.encoder)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, kind.pixel_format
        stream.codec_context.time_base = 1 / rate
        # One thread, for the same bytes each time.
        stream.codec_context.thread_count = 1
        duration_of = dict(zip(stamps, durations, strict=False))
        for picture, stamp in zip(pictures(range(len(stamps))), stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=kind.pixel_format)
            frame.pts, frame.time_base = stamp, 1 / rate
            _mux(out, stream.encode(frame), rate, duration_of)
        _mux(out, stream.encode(None), rate, duration_of)
    return file.getvalue()


def _mux(out: av.container.OutputContainer, packets: Sequence[av.Packet], rate: Fraction, duration_of: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = duration_of.get(packet.pts or 0, 1)
        out.mux(packet)


def straight(data: bytes) -> NDArray[np.uint8]:
    """Return all frames, (T, H, W, 3), decoded from the first to the last by PyAV alone."""
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
