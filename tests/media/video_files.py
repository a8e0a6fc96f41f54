"""Small video files of many kinds, made with PyAV: what every decoder has to agree on."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

# The AV1 encoder would introduce itself at length.
os.environ.setdefault("SVT_LOG", "1")

RATE = 25
NUM_FRAMES = 24

# Name: (container, codec, pixel format, (width, height), options of the stream).
KINDS: dict[str, tuple[str, str, str, tuple[int, int], dict[str, object]]] = {
    "h264": ("mp4", "libx264", "yuv420p", (64, 48), {"max_b_frames": 0}),
    "h264-b-frames": ("mp4", "libx264", "yuv420p", (64, 48), {"max_b_frames": 3}),
    "h264-b-frames-avi": ("avi", "libx264", "yuv420p", (64, 48), {"max_b_frames": 3}),
    "h264-mpegts": ("mpegts", "libx264", "yuv420p", (64, 48), {"max_b_frames": 2}),
    "mpeg4": ("mp4", "mpeg4", "yuv420p", (64, 48), {"bit_rate": 900_000}),
    "mpeg4-avi": ("avi", "mpeg4", "yuv420p", (64, 48), {"max_b_frames": 2, "bit_rate": 900_000}),
    "vp9": ("webm", "libvpx-vp9", "yuv420p", (64, 48), {}),
    "av1": ("mp4", "libsvtav1", "yuv420p", (64, 64), {}),
    "gif": ("gif", "gif", "rgb8", (64, 48), {}),
    "odd-size": ("mp4", "libx264", "yuv444p", (63, 47), {}),
    "odd-size-420": ("webm", "libvpx-vp9", "yuv420p", (63, 47), {}),
    "grey": ("mp4", "libx264", "gray", (64, 48), {}),
    "10-bit": ("mp4", "libx264", "yuv420p10le", (64, 48), {}),
    "bt709": ("mp4", "libx264", "yuv420p", (64, 48), {"colorspace": 1}),
    "full-range": ("mp4", "libx264", "yuv420p", (64, 48), {"colorspace": 5, "color_range": 2}),
    "variable-rate": ("mp4", "libx264", "yuv420p", (64, 48), {"max_b_frames": 2}),
    "sound": ("mp4", "libx264", "yuv420p", (64, 48), {}),
    "one-frame": ("mp4", "libx264", "yuv420p", (64, 48), {}),
    "large": ("mp4", "libx264", "yuv420p", (640, 368), {"max_b_frames": 3}),
}
ROTATED = {"rotated-90": 3, "rotated-180": 2, "rotated-270": 1}
"""Quarter turns against the clock that make the frames upright."""
NAMES = [*KINDS, *ROTATED]


def pictures(count: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) uint8: a square on its way over waves of colour; no frame and no corner is like another."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = np.empty((count, height, width, 3), np.uint8)
    for number in range(count):
        wave = np.sin((rows + 2 * columns) / 16 + number / 3)
        frames[number] = np.stack([columns * 200 / width + 30, rows * 200 / height + 20, 128 + 90 * wave], axis=-1)
        left = 3 + number * (width - 22) // max(count, 2)
        frames[number, 6 : 6 + height // 4, left : left + 16] = (240, 240 - 8 * (number % 24), 20)
    return frames


def times(name: str) -> list[int]:
    """Return the time stamp of each frame, in 1 / RATE seconds."""
    if name == "one-frame":
        return [0]
    if name == "variable-rate":
        return [number + number // 4 * 2 for number in range(NUM_FRAMES)]
    return list(range(4 * NUM_FRAMES if name == "large" else NUM_FRAMES))


def source(name: str) -> NDArray[np.uint8]:
    """Return the upright pictures that a file was frames of."""
    width, height = KINDS[name if name in KINDS else "h264"][3]
    frames = pictures(len(times(name)), width, height)
    frames = np.rot90(frames, ROTATED.get(name, 0), axes=(1, 2))
    return frames.mean(axis=3, keepdims=True).repeat(3, axis=3).astype(np.uint8) if name == "grey" else frames


@functools.cache
def make(name: str) -> bytes:
    """Return a file of this kind, encoded once per process."""
    if name in ROTATED:
        return rotated(make("h264"), ROTATED[name])
    container, codec, pixel_format, (width, height), options = KINDS[name]
    stamps = times(name)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size = 8
        # One thread, for the same bytes each time.
        stream.codec_context.thread_count = 1
        for option, value in options.items():
            setattr(stream.codec_context, option, value)
        sound = out.add_stream("aac", rate=8000) if name == "sound" else None
        frames = pictures(len(stamps), width, height)
        for stamp, picture in zip(stamps, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format, dst_colorspace=options.get("colorspace"), dst_color_range=options.get("color_range")
            )
            frame.pts, frame.time_base = stamp, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            for packet in _silence(sound):
                out.mux(packet)
    return file.getvalue()


def titled(title: str) -> bytes:
    """Return an MP4 file with a title."""
    file = io.BytesIO()
    with av.open(io.BytesIO(make("h264"))) as read, av.open(file, "w", format="mp4") as out:
        out.metadata["title"] = title
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


def scene(seed: int, count: int, *, width: int = 320, height: int = 240, first: int = 0) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) uint8: a slow pan over a wall of coloured blocks, another wall for each seed."""
    draws = np.random.default_rng(seed)
    paint = draws.integers(0, 256, 3)
    wall = draws.integers(0, 120, (height // 8, (width + 4 * (first + count)) // 8 + 1, 3)) + paint // 2
    texture = wall.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
    return np.stack([texture[:, 2 * offset : 2 * offset + width] for offset in range(first, first + count)])


def of_pictures(frames: NDArray[np.uint8], *, quality: int = 20, **tags: int) -> bytes:
    """Return an H.264 file of these frames; ``tags``, such as ``colorspace``, are those of its header."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": str(quality), "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def rotated(data: bytes, turns: int) -> bytes:
    """Return an MP4 file whose header rotates its frames by quarter turns against the clock."""
    return with_matrix(data, {1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[turns])


def with_matrix(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Return an MP4 file with the display matrix (a, b, c, d) in the header of its track."""
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = ((value << 16).to_bytes(4, "big", signed=True) for value in matrix)
    none, unit = bytes(4), (1 << 30).to_bytes(4, "big")
    return data[:at] + b"".join([a, b, none, c, d, none, none, none, unit]) + data[at + 36 :]


def anamorphic(ratio: Fraction, container: str = "mp4", codec: str = "libx264") -> bytes:
    """Return 4 frames of 64x48 whose pixels have this ratio of width to height."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        stream.codec_context.thread_count = 1
        for picture in pictures(4, 64, 48):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def changing(sizes: Sequence[tuple[int, int]], *, num_frames: int = 5) -> bytes:
    """Return Motion JPEG in Matroska with ``num_frames`` in each size (width, height), one after the other."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("mjpeg", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for part, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", Fraction(1, RATE)
            for number, picture in enumerate(pictures(num_frames, width, height)):
                for packet in encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    packet.pts = packet.dts = part * num_frames + number
                    packet.stream, packet.time_base = stream, Fraction(1, RATE)
                    out.mux(packet)
    return file.getvalue()


def in_front(data: bytes, tmp_path: Path) -> bytes:
    """Return an MP4 file with its index before the frames, so that it can lose its end."""
    path = tmp_path / "in-front.mp4"
    with av.open(io.BytesIO(data)) as read, av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        copy = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    return path.read_bytes()


def positions(data: bytes) -> Sequence[tuple[int, int]]:
    """Return (offset, size) of each packet of the video, in the order of decoding."""
    with av.open(io.BytesIO(data)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damaged_at(data: bytes, packet: int) -> bytes:
    """Return a file in which one packet says of itself that it is longer than it is."""
    offset, size = positions(data)[packet]
    return data[:offset] + b"\x7f" * size + data[offset + size :]


def _silence(stream: av.AudioStream) -> Iterator[av.Packet]:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 8000
    yield from stream.encode(frame)
    yield from stream.encode(None)
