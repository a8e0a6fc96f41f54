"""Read frames of a video with their times from a given time on, decoding no more than needed.

MP4, MOV, Matroska and WebM are decoded from the key frame before the start. Other containers have no time for each frame, or
none that can be trusted: they are decoded from their first frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t2vdata.media import animation
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.probe import Source
from t2vdata.media.display_geometry import DisplayGeometry

if TYPE_CHECKING:
    import av

SEEKABLE_DEMUXERS = ("mov", "matroska")


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame and its start, with the rate and codec of its file."""

    seconds: float
    """From the file's first frame."""
    frame: av.VideoFrame
    fps: float
    codec: str
    geometry: DisplayGeometry


class OutOfOrderError(Exception):
    """Time stamps do not rise, so frames cannot be taken in one pass."""


def stream(source: Source, demuxer: str, start_seconds: float | None) -> Iterator[TimedFrame]:
    """Yield frames from the last key frame before ``start_seconds`` on, up to the first damage.

    Raises OutOfOrderError if time stamps do not rise.
    """
    import av

    with probing.opened(source, demuxer) as (container, video):
        base, origin = float(video.time_base or 0), video.start_time or 0
        if not base:
            raise OutOfOrderError
        if start_seconds:
            container.seek(origin + math.floor(start_seconds / base), stream=video)
        fps, codec, last = probing.average_fps(video, []), video.codec_context.name, -math.inf
        try:
            for packet in probing.packets(container, video):
                for frame in video.codec_context.decode(None if packet.is_corrupt else packet):
                    if frame.pts is None or frame.pts <= last:
                        raise OutOfOrderError
                    last = frame.pts
                    yield TimedFrame((frame.pts - origin) * base, frame, fps, codec, probing.geometry_of(frame, video))
                if packet.is_corrupt:
                    break
        except av.FFmpegError:
            # The frames before the first damage count.
            return


def read_all(source: Source) -> Iterator[TimedFrame]:
    """Yield all frames of a file, with the times that a pass over the whole file finds."""
    probe = probing.probe(source)
    frames = iter(probe.frames) if probe.frames is not None else _decode_again(probe)
    for seconds, frame in zip(probe.seconds, frames, strict=False):
        yield TimedFrame(seconds - probe.seconds[0], frame, probe.fps, probe.codec, probe.geometry)


def _decode_again(probe: probing.Probe) -> Iterator[av.VideoFrame]:
    remaining = set(probe.order)
    with probing.opened(probe.source, probe.demuxer) as (container, video):
        for ordinal, packet in enumerate(probing.packets(container, video)):
            if packet.size:
                packet.pts = ordinal
            for frame in video.codec_context.decode(None if packet.is_corrupt else packet):
                if frame.pts in remaining:
                    remaining.remove(frame.pts)
                    yield frame
            if packet.is_corrupt or not remaining:
                return


def read_animation(source: Source, kind: str, *, max_pixels: int) -> Iterator[TimedFrame]:
    """Yield the frames of an animated picture, whose format is ``kind``."""
    import av

    frames = animation.frames(source, kind, max_pixels=max_pixels)
    seconds = [end for _, end, _ in frames]
    fps = len(seconds) / seconds[-1]
    for start, _, pixels in animation.frames(source, kind, max_pixels=max_pixels):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        yield TimedFrame(start, frame, fps, animation.CODECS[kind], DisplayGeometry(*pixels.shape[:2]))
