"""What a video file holds that really decodes: one pass over it with PyAV, whichever decoder then gives the pixels.

The rule for damaged files: the frames up to the first damage count. Damage is a packet that the container marks as cut
short, a packet that FFmpeg refuses, or a frame of another size than the first. Where no frame comes before it, the file is
refused. (What a decoder conceals without a word, bits flipped inside a picture, is not seen as damage.)
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media.decode import containers

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# One frame, or the frames of one request: 90 frames of 4K are 750 million.
MAX_PIXELS = 1 << 30
# Frames of a clip up to this stay in memory as they were decoded, 1.5 bytes a pixel: 24 MB.
KEEP_PIXELS = 1 << 24
# Containers with a time for each frame and an index. In AVI, MPEG and GIF files decord or torchcodec find other frames than
# were asked for, or none: their times are those of decoding, or guessed.
_EXACT_DEMUXERS = ("mov", "matroska")
# FFmpeg's names. Old and small builds, decord's and OpenCV's, have none of those that work on the CPU.
AV1_DECODERS = ("libdav1d", "libaom-av1", "av1")


Source = bytes | str | io.BufferedIOBase
"""The bytes of a file, its absolute path, or the file open at any place, which stays open."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a file after the pass."""

    source: Source
    demuxer: str
    codec: str
    pixel_format: str
    seconds: tuple[float, ...]
    """Start of each frame that decodes, in the order in which they are shown."""
    order: tuple[int, ...]
    """Ordinal in the file of the packet that holds each frame; empty when the frames were not decoded."""
    stamps: tuple[int | None, ...]
    """Time stamp of each packet, as the container has it."""
    key_packets: tuple[int, ...]
    """Ordinals of the packets at which decoding can begin."""
    coded_height: int
    coded_width: int
    turns: int
    """Quarter turns against the clock that make the frames upright."""
    fps: float
    is_plain: bool
    """Whether any demuxer would count the same frames in the same order: none cut, hidden, out of order or without a time."""
    is_hdr: bool
    """Whether the colours are tagged as BT.2020 primaries or a high dynamic range transfer."""
    is_interlaced: bool
    """Whether any frame is two fields of different times."""
    damage: str | None = None
    frames: list[av.VideoFrame] | None = field(default=None, repr=False, compare=False)
    """The decoded frames of a small clip."""

    @property
    def num_frames(self) -> int:
        return len(self.seconds)

    @property
    def height(self) -> int:
        return self.coded_width if self.turns % 2 else self.coded_height

    @property
    def width(self) -> int:
        return self.coded_height if self.turns % 2 else self.coded_width


@dataclass(slots=True)
class _Pass:
    """What a pass over the packets has seen so far."""

    stamps: list[int | None] = field(default_factory=list)
    """Of each packet."""
    key_packets: list[int] = field(default_factory=list)
    hidden: int = 0
    order: list[int] = field(default_factory=list)
    first: av.VideoFrame | None = None
    frames: list[av.VideoFrame] | None = field(default_factory=list)
    pixels: int = 0
    is_interlaced: bool = False
    damage: str | None = None

    def add(self, frame: av.VideoFrame) -> None:
        if self.first is None:
            self.first = frame
        if (frame.width, frame.height) != (self.first.width, self.first.height):
            raise DecodeError(f"the size changes to {frame.width}x{frame.height} at frame {len(self.order)}")
        self.order.append(len(self.order) if frame.pts is None else frame.pts)
        self.is_interlaced |= frame.interlaced_frame
        self.pixels += frame.width * frame.height
        if self.pixels > KEEP_PIXELS:
            self.frames = None
        if self.frames is not None:
            self.frames.append(frame)


def probe(source: Source, *, decodes: bool = True) -> Probe:
    """Return what of a video file really decodes. Costs one decoding of the file, without colour conversion.

    With ``decodes=False`` only packets are counted, which costs next to nothing, but damage inside a packet is not seen; a
    file that is not plain is decoded nonetheless.
    """
    name = containers.demuxer(head_of(source))
    with opened(source, name) as (container, stream):
        seen = _walk(container, stream, decodes=decodes)
        found = _summary(source, name, container, stream, seen, decodes=decodes)
    return found if decodes or found.is_plain else probe(source)


@contextmanager
def opened(source: Source, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container by the demuxer's name: its first video stream that is no cover picture, on one thread."""
    import av

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if isinstance(file, io.BufferedIOBase):
        file.seek(0)
    try:
        # No other protocol: a container that refers to another file or address must not reach it.
        allowed = {"protocol_whitelist": "file"}
        with av.open(file, "r", format=name, container_options=allowed, metadata_errors="replace") as container:
            stream = _stream(container)
            if stream.codec_context is None:
                raise DecodeError("FFmpeg has no decoder for its video stream")
            size = (stream.codec_context.width or 0) * (stream.codec_context.height or 0)
            if size > MAX_PIXELS:
                raise DecodeError(f"a frame of {size} pixels, over the limit of {MAX_PIXELS}")
            # One thread: for a small clip, starting more costs longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            yield container, stream
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Yield the packets that hold something, and one empty packet at the end, which drains the decoder.

    Theora repeats a frame by a packet without bytes, which FFmpeg's decoders refuse: the frame before it then lasts longer.
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
    """Return the first bytes of a file, enough to tell what it is."""
    if isinstance(source, bytes):
        return source[: containers.HEAD_BYTES]
    if isinstance(source, io.BufferedIOBase):
        source.seek(0)
        return source.read(containers.HEAD_BYTES)
    with open(source, "rb") as file:
        return file.read(containers.HEAD_BYTES)


def _walk(container: InputContainer, stream: VideoStream, *, decodes: bool) -> _Pass:
    """Read packet after packet up to the first damage."""
    import av

    seen = _Pass()
    try:
        for packet in packets(container, stream):
            if packet.is_corrupt:
                seen.damage = f"packet {len(seen.stamps)} is cut short"
            elif packet.size:
                ordinal = len(seen.stamps)
                seen.stamps.append(packet.dts if packet.pts is None else packet.pts)
                seen.hidden += packet.is_discard
                if packet.is_keyframe:
                    seen.key_packets.append(ordinal)
                # A frame carries the number of its packet through the decoder: that is how it is found again.
                packet.pts = ordinal
            if decodes or seen.first is None:
                for frame in stream.codec_context.decode(None if seen.damage else packet):
                    seen.add(frame)
            if seen.damage:
                break
    except av.FFmpegError as error:
        # What the decoder still holds belongs to the packet that it refused.
        seen.damage = f"{error.strerror or error} (FFmpeg)"
    except DecodeError as error:
        seen.damage = str(error)
    return seen


def _summary(source: Source, name: str, container: InputContainer, stream: VideoStream, seen: _Pass, *, decodes: bool) -> Probe:
    if seen.first is None:
        raise DecodeError(f"no frame decodes: {seen.damage}" if seen.damage else "no frame decodes")
    first, stamps = seen.first, seen.stamps
    order = seen.order if decodes else list(range(len(stamps)))
    shown = [stamps[ordinal] if ordinal < len(stamps) else None for ordinal in order]
    whole = sorted(stamp for stamp in shown if stamp is not None)
    fps = average_fps(stream, whole)
    return Probe(
        source=source,
        demuxer=name,
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        seconds=_seconds(stream, whole, len(order), fps),
        order=tuple(order) if decodes else (),
        stamps=tuple(stamps),
        key_packets=tuple(seen.key_packets),
        coded_height=first.height,
        coded_width=first.width,
        turns=round(first.rotation / 90) % 4,
        fps=fps,
        is_plain=(
            seen.damage is None
            and not seen.hidden
            and len(container.streams.video) == 1
            and len(stamps) == len(order) == len(whole)
            and stream.frames in (0, len(order))
            and all(left < right for left, right in itertools.pairwise(whole))
            and (shown == whole or not decodes)
            and name in _EXACT_DEMUXERS
        ),
        is_hdr=is_hdr(first),
        is_interlaced=seen.is_interlaced,
        damage=seen.damage,
        frames=seen.frames if decodes else None,
    )


def _seconds(stream: VideoStream, stamps: list[int], num_frames: int, fps: float) -> tuple[float, ...]:
    """Return when each frame starts: by its time stamp, or by the rate where any has none.

    ``stamps`` are sorted: an AVI stores the order of decoding, and its B frames come with each other's times.
    """
    base = stream.time_base
    if len(stamps) < num_frames or base is None:
        return tuple(number / fps for number in range(num_frames))
    return tuple(stamp * base.numerator / base.denominator for stamp in stamps)


# Of FFmpeg's AVColorPrimaries and AVColorTransferCharacteristic: PQ and hybrid log-gamma.
_BT2020, _HDR_TRANSFERS = 9, (16, 18)


def is_hdr(frame: av.VideoFrame) -> bool:
    """Return whether the colours are tagged as BT.2020 primaries or a high dynamic range transfer."""
    return frame.color_primaries == _BT2020 or frame.color_trc in _HDR_TRANSFERS


def average_fps(stream: VideoStream, stamps: list[int]) -> float:
    """Return the container's average rate; where it has none, that of the time stamps; 1 for a single picture."""
    if stream.average_rate:
        return float(stream.average_rate)
    if len(stamps) > 1 and stamps[-1] > stamps[0] and stream.time_base:
        return (len(stamps) - 1) / float((stamps[-1] - stamps[0]) * stream.time_base)
    return float(stream.guessed_rate or 1)
