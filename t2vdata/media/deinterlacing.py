"""Make whole pictures of the two fields of interlaced frames, with FFmpeg's filter bwdif."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from t2vdata.media.library_errors import ffmpeg_errors
from t2vdata.media.timed_frames import TimedFrame

if TYPE_CHECKING:
    import av

# bwdif needs 4 rows in each plane, and 4:1:0 has a fourth of them. Smaller frames are no video to speak of.
_MIN_SIDE = 16


def deinterlaced(timed_frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """Yield each frame as a whole picture, of its first field, at its time; those not marked as interlaced, or tiny, unchanged.

    A frame needs its neighbours: each is yielded after the next has been read.
    """
    waiting: deque[TimedFrame] = deque()
    graph: _Graph | None = None
    for timed in timed_frames:
        if min(timed.frame.width, timed.frame.height) < _MIN_SIDE:
            yield from _filtered(graph, None, waiting)
            graph = None
            yield timed
            continue
        if graph is None or not graph.takes(timed.frame):
            yield from _filtered(graph, None, waiting)
            graph = _Graph(timed.frame)
        waiting.append(timed)
        yield from _filtered(graph, timed.frame, waiting)
    yield from _filtered(graph, None, waiting)


def _filtered(graph: _Graph | None, frame: av.VideoFrame | None, waiting: deque[TimedFrame]) -> Iterator[TimedFrame]:
    """Give a frame, or the end, to the graph, and yield what comes out: as many frames as went in, in their order."""
    if graph is None:
        return
    for picture in graph.push(frame):
        timed = waiting.popleft()
        yield dataclasses.replace(timed, frame=picture) if timed.frame.interlaced_frame else timed


class _Graph:
    """bwdif for frames of one size and pixel format."""

    def __init__(self, frame: av.VideoFrame) -> None:
        import av.filter

        self._shape = frame.width, frame.height, frame.format.name
        self._count = 0
        with ffmpeg_errors():
            graph = av.filter.Graph()
            time_base = frame.time_base or Fraction(1, 1000)
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
            bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
            sink = graph.add("buffersink")
            source.link_to(bwdif)
            bwdif.link_to(sink)
            graph.configure()
        self._graph: Any = graph

    def takes(self, frame: av.VideoFrame) -> bool:
        """Return whether a frame has the size and format of the graph."""
        return self._shape == (frame.width, frame.height, frame.format.name)

    def push(self, frame: av.VideoFrame | None) -> list[av.VideoFrame]:
        """Give the graph a frame, or the end, and return the frames that are ready."""
        import av

        ready: list[av.VideoFrame] = []
        with ffmpeg_errors():
            self._graph.vpush(frame)
            while True:
                try:
                    ready.append(self._graph.vpull())
                except (av.BlockingIOError, av.EOFError):
                    return ready
