"""Read frames of a video with their times from a given time on, decoding no more than needed.

MP4, MOV, Matroska and WebM are decoded from the key frame before the start, if the frames from there prove to be those of a
straight pass. Other containers have no time for each frame, or none that can be trusted: they are decoded from their first
frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError
from t2vdata.media import animation
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode import random_access
from t2vdata.media.decode.frame_decoder import FrameDecoder
from t2vdata.media.display_geometry import DisplayGeometry
from t2vdata.media.frame_times import rounding_seconds, tolerance_seconds
from t2vdata.media.media_file import Source

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

SEEKABLE_DEMUXERS = ("mov", "matroska")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is the same for all frames of a file."""

    fps: float
    """The container's average rate."""
    codec: str
    tick_seconds: float
    """Unit of the container's clock."""

    @classmethod
    def of(cls, stream: VideoStream) -> FileInfo:
        return cls(probing.average_fps(stream, []), stream.codec_context.name, float(stream.time_base or 0))


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame, and when it is shown."""

    seconds: float
    """Start, from the file's first frame."""
    end_seconds: float
    """Start of the next frame; for the last, the end of its own duration."""
    frame: av.VideoFrame
    geometry: DisplayGeometry
    file: FileInfo

    def begins_before(self, time: float) -> bool:
        """Return whether the frame's start is before a time and does not count as that time."""
        return self.seconds + self._tolerance_seconds < time

    def outlasts(self, time: float) -> bool:
        """Return whether the frame is still shown at a time, or not shown yet."""
        return time < self.end_seconds - self._tolerance_seconds

    @property
    def _tolerance_seconds(self) -> float:
        return tolerance_seconds(self.end_seconds - self.seconds, rounding_seconds(self.file.tick_seconds))


class OutOfOrderError(Exception):
    """Time stamps do not rise, so frames cannot be taken in one pass."""


def stream(source: Source, demuxer: str, start_seconds: float | None, *, skips_damage: bool = False) -> Iterator[TimedFrame]:
    """Yield frames from the last key frame before ``start_seconds`` on, up to the first damage.

    Raises OutOfOrderError if time stamps do not rise, and SeekError if frames after a seek are not known to be right.
    """
    with probing.opened(source, demuxer) as (container, video):
        if not video.time_base:
            raise OutOfOrderError
        base = float(video.time_base)
        decoder = FrameDecoder(video, skips_damage=skips_damage)
        frames = decoder.frames(probing.packets(container, video))
        # Time 0 is the first frame that decodes.
        first = next(frames, None)
        if first is None:
            return
        if first.pts is None:
            raise OutOfOrderError
        frames, origin, geometry = itertools.chain([first], frames), first.pts, probing.geometry_of(first, video)
        if start_seconds:
            stamp = origin + math.floor(min(start_seconds / base, random_access.MAX_STAMP))
            frames = random_access.frames_from(container, video, decoder, stamp)
        yield from _with_ends(_timed(frames, video, origin, geometry), FileInfo.of(video))


def read_all(source: Source, *, skips_damage: bool = False) -> Iterator[TimedFrame]:
    """Yield all frames of a file, with the times that a pass over the whole file finds."""
    probe = probing.probe(source, skips_damage=skips_damage)
    file = FileInfo(probe.fps, probe.codec, probe.tick_seconds)
    frames = iter(probe.frames) if probe.frames is not None else _decode_again(probe, skips_damage=skips_damage)
    starts = [seconds - probe.seconds[0] for seconds in (*probe.seconds, probe.end_seconds)]
    for (start, end), frame in zip(itertools.pairwise(starts), frames, strict=False):
        yield TimedFrame(start, end, frame, probe.geometry, file)


def read_animation(source: Source, kind: str, *, max_pixels: int) -> Iterator[TimedFrame]:
    """Yield the frames of an animated picture, whose format is ``kind``."""
    import av

    ends = [end for _, end, _ in animation.frames(source, kind, max_pixels=max_pixels)]
    file = FileInfo(len(ends) / ends[-1], animation.CODECS[kind], animation.TICK_SECONDS)
    for start, end, pixels in animation.frames(source, kind, max_pixels=max_pixels):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        yield TimedFrame(start, end, frame, DisplayGeometry(*pixels.shape[:2]), file)


@dataclass(slots=True)
class _Stamped:
    """A frame without a known end."""

    seconds: float
    duration_seconds: float
    """0 if the container does not say."""
    frame: av.VideoFrame
    geometry: DisplayGeometry


def _timed(frames: Iterable[av.VideoFrame], video: VideoStream, origin: int, geometry: DisplayGeometry) -> Iterator[_Stamped]:
    """Yield frames up to the first that is shown otherwise than those at the start of the file: the rest is damage."""
    last, base = -math.inf, float(video.time_base or 0)
    for frame in frames:
        current = probing.geometry_of(frame, video, geometry.orientation)
        if current != geometry:
            if last == -math.inf:
                raise DecodeError(f"the size changes to {current} before the clip starts")
            return
        if frame.pts is None or frame.pts <= last:
            raise OutOfOrderError
        last = frame.pts
        duration = max(0, frame.duration or 0)
        yield _Stamped((frame.pts - origin) * base, duration * base, frame, geometry)


def _with_ends(frames: Iterable[_Stamped], file: FileInfo) -> Iterator[TimedFrame]:
    previous: _Stamped | None = None
    for stamped in frames:
        if previous is not None:
            yield TimedFrame(previous.seconds, stamped.seconds, previous.frame, previous.geometry, file)
        previous = stamped
    if previous is not None:
        end = previous.seconds + (previous.duration_seconds or 1 / file.fps)
        yield TimedFrame(previous.seconds, end, previous.frame, previous.geometry, file)


def _decode_again(probe: probing.Probe, *, skips_damage: bool) -> Iterator[av.VideoFrame]:
    remaining = set(probe.order)
    with probing.opened(probe.source, probe.demuxer) as (container, video):
        for frame in FrameDecoder(video, skips_damage=skips_damage).frames(_numbered(probing.packets(container, video))):
            if frame.pts in remaining:
                remaining.remove(frame.pts)
                yield frame
            if not remaining:
                return


def _numbered(packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.Packet[VideoStream]]:
    for ordinal, packet in enumerate(packets):
        if packet.size:
            packet.pts = ordinal
        yield packet
