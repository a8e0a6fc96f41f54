"""Find out what really decodes in a video file, in one pass with PyAV, whichever backend then gives the pixels.

The rule for damaged files: the frames before the first damage count. Damage is a packet that the container marks as cut
short, a packet that FFmpeg refuses, or a frame whose size, orientation or pixel ratio differs from the first. If no frame
comes before it, the file is refused. (Damage that a decoder conceals silently, such as flipped bits inside a picture, goes
unnoticed.)
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020, display_geometry, rgb
from t2vdata.media.decode import containers
from t2vdata.media.display_geometry import DisplayGeometry
from t2vdata.media.library_errors import file_errors

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Limit of one frame, and of the frames of one request: 90 frames of 4K have 750 million.
MAX_PIXELS = 1 << 30
# The decoded frames of clips up to this size stay in memory, at 1.5 bytes a pixel: 24 MB.
KEEP_PIXELS = 1 << 24
# Containers with an index and a time for each frame. In AVI, MPEG and GIF files, whose times are those of decoding or guessed,
# decord or torchcodec return other frames than requested, or none.
_EXACT_DEMUXERS = ("mov", "matroska")
# FFmpeg's names of AV1 decoders on the CPU. The old and small builds in decord and OpenCV have none of them.
AV1_DECODERS = ("libdav1d", "libaom-av1", "av1")


Source = bytes | str | io.BufferedIOBase
"""The bytes of a file, its absolute path, or an open file at any offset; an open file stays open."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of the pass over a file."""

    source: Source
    demuxer: str
    codec: str
    pixel_format: str
    seconds: tuple[float, ...]
    """Start of each frame that decodes, in display order."""
    order: tuple[int, ...]
    """Number, in file order, of the packet that holds each frame; empty if frames were not decoded."""
    stamps: tuple[int | None, ...]
    """Time stamp of each packet, as stored in the container."""
    key_packets: tuple[int, ...]
    """Numbers of the packets at which decoding can begin."""
    geometry: DisplayGeometry
    """Of the first frame, and so of all."""
    fps: float
    is_plain: bool
    """Whether every demuxer counts the same frames in the same order: none damaged, hidden, out of order or without a time."""
    is_hdr: bool
    """Whether the colours have a high dynamic range."""
    only_pyav: str | None
    """Why other backends would show other pixels, or None."""
    is_interlaced: bool
    """Whether any frame consists of two fields of different times."""
    damage: str | None = None
    frames: list[av.VideoFrame] | None = field(default=None, repr=False, compare=False)
    """The decoded frames of a small clip."""

    @property
    def num_frames(self) -> int:
        return len(self.seconds)

    @property
    def height(self) -> int:
        return self.geometry.height

    @property
    def width(self) -> int:
        return self.geometry.width


@dataclass(slots=True)
class _Pass:
    """State of a pass over the packets."""

    stamps: list[int | None] = field(default_factory=list)
    """Of each packet."""
    geometry: DisplayGeometry | None = None
    key_packets: list[int] = field(default_factory=list)
    hidden: int = 0
    order: list[int] = field(default_factory=list)
    first: av.VideoFrame | None = None
    frames: list[av.VideoFrame] | None = field(default_factory=list)
    pixels: int = 0
    is_interlaced: bool = False
    damage: str | None = None

    def add(self, frame: av.VideoFrame, stream: VideoStream) -> None:
        geometry = geometry_of(frame, stream)
        if self.first is None:
            self.first, self.geometry = frame, geometry
        if geometry != self.geometry:
            raise DecodeError(f"the size changes to {geometry} at frame {len(self.order)}")
        self.order.append(len(self.order) if frame.pts is None else frame.pts)
        self.is_interlaced |= frame.interlaced_frame
        self.pixels += frame.width * frame.height
        if self.pixels > KEEP_PIXELS:
            self.frames = None
        if self.frames is not None:
            self.frames.append(frame)


def probe(source: Source, *, decodes: bool = True) -> Probe:
    """Return what really decodes in a video file. Decodes the file once, without colour conversion.

    With ``decodes=False`` packets are only counted, which takes almost no time but misses damage inside a packet; a file that
    is not plain is decoded anyway.
    """
    name = containers.demuxer(head_of(source))
    with opened(source, name) as (container, stream):
        state = _walk(container, stream, decodes=decodes)
        result = _summary(source, name, container, stream, state, decodes=decodes)
    return result if decodes or result.is_plain else probe(source)


@contextmanager
def opened(source: Source, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container by the demuxer's name; yield it and its first video stream, without cover pictures, on one thread."""
    import av

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if isinstance(file, io.BufferedIOBase):
        file.seek(0)
    try:
        # No other protocol: a container that refers to an address must not reach it.
        options = {"protocol_whitelist": "file"}
        with av.open(file, "r", format=name, container_options=options, metadata_errors="replace") as container:
            stream = _stream(container)
            if stream.codec_context is None:
                raise DecodeError("FFmpeg has no decoder for its video stream")
            size = (stream.codec_context.width or 0) * (stream.codec_context.height or 0)
            if size > MAX_PIXELS:
                raise DecodeError(f"a frame of {size} pixels, over the limit of {MAX_PIXELS}")
            # One thread: for a small clip, starting more takes longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            yield container, stream
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Yield the packets that have bytes, then one empty packet, which drains the decoder.

    Theora repeats a frame by a packet without bytes, which FFmpeg's decoders refuse: the frame before it lasts longer instead.
    """
    for packet in container.demux(stream):
        if packet.size or (packet.pts is None and packet.dts is None):
            yield packet


def _stream(container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise DecodeError("no video stream")


def head_of(source: Source) -> bytes:
    """Return the first bytes of a file, enough to identify its format."""
    if isinstance(source, bytes):
        return source[: containers.HEAD_BYTES]
    if isinstance(source, io.BufferedIOBase):
        source.seek(0)
        return source.read(containers.HEAD_BYTES)
    with file_errors(), open(source, "rb") as file:
        return file.read(containers.HEAD_BYTES)


def _walk(container: InputContainer, stream: VideoStream, *, decodes: bool) -> _Pass:
    """Read packets up to the first damage."""
    import av

    state = _Pass()
    try:
        for packet in packets(container, stream):
            if packet.is_corrupt:
                state.damage = f"packet {len(state.stamps)} is cut short"
            elif packet.size:
                ordinal = len(state.stamps)
                state.stamps.append(packet.dts if packet.pts is None else packet.pts)
                state.hidden += packet.is_discard
                if packet.is_keyframe:
                    state.key_packets.append(ordinal)
                # The time stamp carries the packet's number through the decoder, so that each frame can be found again.
                packet.pts = ordinal
            if decodes or state.first is None:
                for frame in stream.codec_context.decode(None if state.damage else packet):
                    state.add(frame, stream)
            if state.damage:
                break
    except av.FFmpegError as error:
        # The frames still in the decoder belong to the refused packet.
        state.damage = f"{error.strerror or error} (FFmpeg)"
    except DecodeError as error:
        state.damage = str(error)
    return state


def _summary(
    source: Source, name: str, container: InputContainer, stream: VideoStream, state: _Pass, *, decodes: bool
) -> Probe:
    if state.first is None or state.geometry is None:
        raise DecodeError(f"no frame decodes: {state.damage}" if state.damage else "no frame decodes")
    first, stamps = state.first, state.stamps
    rgb.check_matrix(first)
    order = state.order if decodes else list(range(len(stamps)))
    shown = [stamps[ordinal] if ordinal < len(stamps) else None for ordinal in order]
    rising = sorted(stamp for stamp in shown if stamp is not None)
    fps = average_fps(stream, rising)
    return Probe(
        source=source,
        demuxer=name,
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        seconds=_seconds(stream, rising, len(order), fps),
        order=tuple(order) if decodes else (),
        stamps=tuple(stamps),
        key_packets=tuple(state.key_packets),
        geometry=state.geometry,
        fps=fps,
        is_plain=(
            state.damage is None
            and not state.hidden
            and len(container.streams.video) == 1
            and len(stamps) == len(order) == len(rising)
            and stream.frames in (0, len(order))
            and all(left < right for left, right in itertools.pairwise(rising))
            and (shown == rising or not decodes)
            and name in _EXACT_DEMUXERS
        ),
        is_hdr=bt2020.is_hdr(first),
        only_pyav=_why_only_pyav(first, stream.codec_context.name, state.geometry),
        is_interlaced=state.is_interlaced,
        damage=state.damage,
        frames=state.frames if decodes else None,
    )


def _seconds(stream: VideoStream, stamps: list[int], num_frames: int, fps: float) -> tuple[float, ...]:
    """Return the start of each frame: from its time stamp, or from the rate if any frame has none.

    ``stamps`` are sorted: an AVI stores frames in decoding order, so its B frames have each other's times.
    """
    base = stream.time_base
    if len(stamps) < num_frames or base is None:
        return tuple(number / fps for number in range(num_frames))
    return tuple(stamp * base.numerator / base.denominator for stamp in stamps)


def geometry_of(frame: av.VideoFrame, stream: VideoStream) -> DisplayGeometry:
    """Return how a frame is to be shown, right after the decoder returned it."""
    # The decoder's ratio changes within a stream; that of the container comes first, as for FFmpeg.
    return display_geometry.of_frame(frame, stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def _why_only_pyav(frame: av.VideoFrame, codec: str, geometry: DisplayGeometry) -> str | None:
    if geometry.pixel_ratio != display_geometry.SQUARE:
        return f"its pixels are not square ({geometry.pixel_ratio.numerator}:{geometry.pixel_ratio.denominator})"
    # FFmpeg's decoder makes the transparent parts of a GIF white itself.
    return None if codec == "gif" else rgb.why_only_pyav(frame)


def average_fps(stream: VideoStream, stamps: list[int]) -> float:
    """Return the container's average rate; if it has none, the rate of the time stamps; 1 for a single picture."""
    if stream.average_rate:
        return float(stream.average_rate)
    if len(stamps) > 1 and stamps[-1] > stamps[0] and stream.time_base:
        return (len(stamps) - 1) / float((stamps[-1] - stamps[0]) * stream.time_base)
    return float(stream.guessed_rate or 1)
