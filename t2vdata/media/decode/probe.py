"""Find out what really decodes in a video file, in one pass with PyAV, whichever backend then gives the pixels.

The rule for damaged files: the frames before the first damage count. Damage is a packet that the container marks as cut
short, a packet that FFmpeg refuses, or a frame whose size, orientation or pixel ratio differs from the first. If no frame
comes before it, the file is refused. With ``skips_damage`` the frames from the next key frame on count too. (Damage that a
decoder conceals silently, such as flipped bits inside a picture, goes unnoticed.)
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020, display_geometry, media_file, rgb
from t2vdata.media.decode import containers, key_frames
from t2vdata.media.decode.clock import PacketClock
from t2vdata.media.decode.frame_decoder import FrameDecoder
from t2vdata.media.display_geometry import UPRIGHT, DisplayGeometry, Orientation
from t2vdata.media.library_errors import ffmpeg_errors, file_errors
from t2vdata.media.media_file import Source

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
# Codecs whose pixel format and order of rows follow from the container's tag, which a copy in another container lacks.
_CODECS_OF_A_TAG = ("rawvideo", "utvideo")
# FFmpeg's names of AV1 decoders on the CPU. The old and small builds in decord and OpenCV have none of them.
AV1_DECODERS = ("libdav1d", "libaom-av1", "av1")


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of the pass over a file."""

    source: Source
    demuxer: str
    codec: str
    pixel_format: str
    seconds: tuple[float, ...]
    """Start of each frame that decodes, in display order."""
    end_seconds: float
    """End of the last frame."""
    tick_seconds: float
    """Unit of the container's clock, to which it rounds."""
    order: tuple[int, ...]
    """Number, in file order, of the packet that holds each frame; empty if frames were not decoded."""
    stamps: tuple[int | None, ...]
    """Time stamp of each packet, as stored in the container."""
    key_packets: tuple[int, ...]
    """Numbers of the packets at which decoding can begin: proven if frames were decoded, else what the container says."""
    closed_packets: tuple[int, ...]
    """Those of them that no frame is shown before that follows in the file, nor the other way round."""
    has_closed_groups: bool
    """Whether these are all packets that the container marks as key frames."""
    geometry: DisplayGeometry
    """Of the first frame, and so of all."""
    fps: float
    is_plain: bool
    """Whether every demuxer counts the same frames in the same order, and every decoder may begin at any key frame: none
    damaged, hidden, out of order or without a time, and only closed groups of pictures."""
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

    clock: PacketClock
    geometry: DisplayGeometry | None = None
    key_packets: list[int] = field(default_factory=list)
    intra_packets: set[int] = field(default_factory=set)
    """Packets whose frames need no other."""
    hidden: int = 0
    order: list[int] = field(default_factory=list)
    first: av.VideoFrame | None = None
    frames: list[av.VideoFrame] | None = field(default_factory=list)
    pixels: int = 0
    is_interlaced: bool = False
    damage: str | None = None

    def add(self, frame: av.VideoFrame, stream: VideoStream) -> None:
        geometry = geometry_of(frame, stream, UPRIGHT if self.geometry is None else self.geometry.orientation)
        if self.first is None:
            self.first, self.geometry = frame, geometry
        if geometry != self.geometry:
            raise DecodeError(f"the size changes to {geometry} at frame {len(self.order)}")
        ordinal = len(self.order) if frame.pts is None else frame.pts
        self.order.append(ordinal)
        if key_frames.is_random_access(frame):
            self.intra_packets.add(ordinal)
        self.is_interlaced |= frame.interlaced_frame
        self.pixels += frame.width * frame.height
        if self.pixels > KEEP_PIXELS:
            self.frames = None
        if self.frames is not None:
            self.frames.append(frame)


def probe(source: Source, *, decodes: bool = True, skips_damage: bool = False) -> Probe:
    """Return what really decodes in a video file. Decodes the file once, without colour conversion.

    With ``decodes=False`` packets are only counted, which takes almost no time but misses damage inside a packet; a file that
    is not plain is decoded anyway.
    """
    name = containers.demuxer(head_of(source))
    with opened(source, name) as (container, stream):
        decoder = FrameDecoder(stream, skips_damage=skips_damage)
        state = _walk(container, stream, decoder, _Pass(PacketClock(name, stream.time_base)), decodes=decodes)
        result = _summary(source, name, container, stream, state, decodes=decodes)
    return result if decodes or result.is_plain else probe(source)


@contextmanager
def opened(source: Source, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container by the demuxer's name; yield it and its first video stream, without cover pictures, on one thread."""
    import av

    # No other protocol: a container that refers to an address must not reach it.
    options = {"protocol_whitelist": "file"}
    with (
        media_file.opened(source) as file,
        ffmpeg_errors(),
        av.open(file, "r", format=name, container_options=options, metadata_errors="replace") as container,
    ):
        stream = _stream(container)
        if stream.codec_context is None:
            raise DecodeError("FFmpeg has no decoder for its video stream")
        size = (stream.codec_context.width or 0) * (stream.codec_context.height or 0)
        if size > MAX_PIXELS:
            raise DecodeError(f"a frame of {size} pixels, over the limit of {MAX_PIXELS}")
        # One thread: for a small clip, starting more takes longer than decoding it.
        stream.thread_count, stream.thread_type = 1, "NONE"
        yield container, stream


def packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Yield the packets that have bytes, then one empty packet, which drains the decoder.

    Theora repeats a frame by a packet without bytes, which FFmpeg's decoders refuse: the frame before it lasts longer instead.
    """
    for packet in container.demux(stream):
        if packet.size or (packet.pts is None and packet.dts is None):
            yield packet


def _stream(container: InputContainer) -> VideoStream:
    """Return the first video stream that the container marks as default, or the first; cover pictures do not count."""
    from av.stream import Disposition

    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise DecodeError("no video stream")
    return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])


def head_of(source: Source) -> bytes:
    """Return the first bytes of a file, enough to identify its format."""
    if isinstance(source, bytes):
        return source[: containers.HEAD_BYTES]
    if isinstance(source, io.BufferedIOBase):
        source.seek(0)
        return source.read(containers.HEAD_BYTES)
    with file_errors(), open(source, "rb") as file:
        return file.read(containers.HEAD_BYTES)


def _walk(container: InputContainer, stream: VideoStream, decoder: FrameDecoder, state: _Pass, *, decodes: bool) -> _Pass:
    """Read packets, up to the first damage unless the decoder skips it."""
    import av

    numbered = _numbered(container, stream, state)
    # Held until the packets are counted: the decoder would close them when it goes.
    frames = decoder.frames(numbered)
    try:
        for frame in frames if decodes else itertools.islice(frames, 1):
            state.add(frame, stream)
        state.damage = decoder.damage
        if not decodes and any(packet.is_corrupt for packet in numbered):
            state.damage = "a packet is cut short"
    except DecodeError as error:
        state.damage = str(error)
    except av.FFmpegError as error:
        state.damage = f"{error.strerror or error} (FFmpeg)"
    return state


def _numbered(container: InputContainer, stream: VideoStream, state: _Pass) -> Iterator[av.Packet[VideoStream]]:
    """Yield packets whose time stamp is their number: the decoder passes it on, so that each frame can be found again."""
    for packet in packets(container, stream):
        if packet.size:
            ordinal = len(state.clock.stamps)
            state.clock.add(packet.pts, packet.dts, packet.duration, is_key=packet.is_keyframe)
            state.hidden += packet.is_discard
            if packet.is_keyframe:
                state.key_packets.append(ordinal)
            packet.pts = ordinal
        yield packet


def _summary(
    source: Source, name: str, container: InputContainer, stream: VideoStream, state: _Pass, *, decodes: bool
) -> Probe:
    if state.first is None or state.geometry is None:
        raise DecodeError(f"no frame decodes: {state.damage}" if state.damage else "no frame decodes")
    first, clock = state.first, state.clock
    rgb.check_matrix(first)
    order = state.order if decodes else clock.presentation_order()
    times = clock.shown(order)
    fps = average_fps(stream, times or [])
    starts, end = _seconds(clock, times, order, fps)
    if name == "gif":
        # FFmpeg's rate counts other durations than those shown.
        fps = len(starts) / (end - starts[0])
    keys = [packet for packet in state.key_packets if not decodes or packet in state.intra_packets]
    closed = key_frames.closed_packets(order, keys)
    return Probe(
        source=source,
        demuxer=name,
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        seconds=starts,
        end_seconds=end,
        tick_seconds=float(stream.time_base or 0),
        order=tuple(order) if decodes else (),
        stamps=tuple(clock.stamps),
        key_packets=tuple(keys),
        closed_packets=tuple(closed),
        has_closed_groups=closed == state.key_packets,
        geometry=state.geometry,
        fps=fps,
        is_plain=(
            state.damage is None
            and not state.hidden
            and len(container.streams.video) == 1
            and len(clock.stamps) == len(order)
            and stream.frames in (0, len(order))
            and (name != "mov" or key_frames.are_indexed(stream, state.key_packets))
            and times is not None
            and all(left < right for left, right in itertools.pairwise(times))
            and times == [clock.stamps[packet] for packet in order]
            and closed == state.key_packets
            # If all are marked as key frames, only decoding tells whether they are.
            and (decodes or len(keys) < len(order) or len(order) == 1)
            and name in _EXACT_DEMUXERS
            # Browsers record WebM without a duration, which decord refuses.
            and container.duration is not None
        ),
        is_hdr=bt2020.is_hdr(first),
        only_pyav=_why_only_pyav(first, stream.codec_context.name, state.geometry),
        is_interlaced=state.is_interlaced,
        damage=state.damage,
        frames=state.frames if decodes else None,
    )


def _seconds(clock: PacketClock, times: list[int] | None, order: Sequence[int], fps: float) -> tuple[tuple[float, ...], float]:
    """Return the start of each frame, and the end of the last: from time stamps, or from the rate if any frame has none."""
    base = clock.base
    if times is None or base is None:
        return tuple(number / fps for number in range(len(order))), len(order) / fps
    seconds = tuple(time * base.numerator / base.denominator for time in times)
    duration = float(clock.durations[order[-1]] * base)
    return seconds, seconds[-1] + (duration or 1 / fps)


def geometry_of(frame: av.VideoFrame, stream: VideoStream, orientation: Orientation = UPRIGHT) -> DisplayGeometry:
    """Return how a frame is to be shown, right after the decoder returned it; ``orientation`` is that of the frames before."""
    container, codec = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
    # The ratio of the container comes first, as for FFmpeg; broadcasts state theirs in the codec, and change it.
    states_ratio = not stream.container.format.name.startswith("mpeg")
    return display_geometry.of_frame(frame, (container or codec) if states_ratio else (codec or container), orientation)


def _why_only_pyav(frame: av.VideoFrame, codec: str, geometry: DisplayGeometry) -> str | None:
    if geometry.pixel_ratio != display_geometry.SQUARE:
        return f"its pixels are not square ({geometry.pixel_ratio.numerator}:{geometry.pixel_ratio.denominator})"
    if codec in _CODECS_OF_A_TAG:
        return f"the layout of its {codec} depends on the container"
    # FFmpeg's decoder makes the transparent parts of a GIF white itself.
    return None if codec == "gif" else rgb.why_only_pyav(frame)


def average_fps(stream: VideoStream, stamps: list[int]) -> float:
    """Return the container's average rate; if it has none, the rate of the time stamps; 1 for a single picture."""
    if stream.average_rate:
        return float(stream.average_rate)
    if len(stamps) > 1 and stamps[-1] > stamps[0] and stream.time_base:
        return (len(stamps) - 1) / float((stamps[-1] - stamps[0]) * stream.time_base)
    return float(stream.guessed_rate or 1)
