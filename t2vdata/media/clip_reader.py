"""Read the frames of a ``ClipRequest`` from any video or picture, in one decoding.

A damaged file gives the frames before the first damage, as ``open_video`` does, unless ``ClipRequest.skips_damage``.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from t2vdata.media import animation, frame_matching, shots, timed_frames
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import containers, random_access
from t2vdata.media.decode import probe as probing
from t2vdata.media.frame_selection import SpanFrames, select_frames
from t2vdata.media.library_errors import file_errors
from t2vdata.media.media_file import Source
from t2vdata.media.picture_format import picture_format
from t2vdata.media.stills import read_still
from t2vdata.types import Frames

# Pixels of three bytes in memory for one span: 30 s at 30 fps in 640x360.
MAX_PIXELS = 1 << 28


def read_clip(source: Source, request: ClipRequest, *, max_pixels: int = MAX_PIXELS) -> Frames:
    """Read one clip, as ``ClipReader.read`` does."""
    return ClipReader(max_pixels=max_pixels).read(source, request)


class ClipReader:
    """Reads clips; keeps the last span in memory, as the next window of a clip usually needs the same span."""

    def __init__(self, *, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._last: tuple[object, SpanFrames] | None = None

    def read(self, source: Source, request: ClipRequest) -> Frames:
        """Return the frames of a video or picture, (T, size, size, 3) uint8; fewer than requested if the span ends earlier.

        ``source`` is the bytes of a file, its absolute path, or an open file. ``Frames.about`` has ``original``: the file's
        height, width, rate, codec, and whether it is HDR; of a video also ``start_seconds`` and ``end_seconds``: the span
        that the frames were taken from, whatever window or shot that is. Raises DecodeError if there is no frame.
        """
        kind = picture_format(probing.head_of(source))
        if kind is not None and not animation.is_animated(source, kind, max_pixels=self._max_pixels):
            return read_still(source, kind, request, max_pixels=self._max_pixels)
        needs_choice = request.num_windows > 1 or request.shot == "longest"
        # All windows of a clip are cut from the same span.
        span = (
            self._cached_span(source, dataclasses.replace(request, window=0)) if needs_choice else self._span(source, request)
        )
        chosen = slice(0, request.num_frames)
        if request.num_frames is not None:
            num_spare = max(0, len(span.data) - request.num_frames)
            first = round(num_spare * request.window / max(1, request.num_windows - 1))
            chosen = slice(first, first + request.num_frames)
        first, end, _ = chosen.indices(len(span.data))
        about: dict[str, Any] = {
            "original": span.original,
            "start_seconds": round(span.edges[first], 6),
            "end_seconds": round(span.edges[end], 6),
        }
        if request.counts_matches:
            about["matches"] = frame_matching.fewest_matches(span.greys[chosen])
        if request.measures_seconds:
            about["seconds"] = round(span.seconds, 3)
        return Frames(span.data[chosen], span.fps, about)

    def _cached_span(self, source: Source, request: ClipRequest) -> SpanFrames:
        """Return all frames of the span, or of its longest shot."""
        key = (source, _file_version(source), request)
        if self._last is None or self._last[0] != key:
            # Freed before the next span is read.
            self._last = None
            span = self._span(source, request)
            if request.shot == "longest":
                shot = shots.longest(span.data)
                edges = span.edges[shot.start : shot.stop + 1]
                seconds = edges[-1] - edges[0]
                span = dataclasses.replace(span, data=span.data[shot], greys=span.greys[shot], edges=edges, seconds=seconds)
            self._last = (key, span)
        return self._last[1]

    def _span(self, source: Source, request: ClipRequest) -> SpanFrames:
        head = probing.head_of(source)
        kind = picture_format(head)
        if kind is not None:
            frames = timed_frames.read_animation(source, kind, max_pixels=self._max_pixels)
            return select_frames(frames, request, max_pixels=self._max_pixels)
        demuxer = containers.demuxer(head)
        skips_damage = request.skips_damage
        if demuxer in timed_frames.SEEKABLE_DEMUXERS:
            # From the key frame before the start; if that is not known to give the right frames, from the first frame.
            for start_seconds in dict.fromkeys((request.start_seconds or None, None)):
                frames = timed_frames.stream(source, demuxer, start_seconds, skips_damage=skips_damage)
                try:
                    return select_frames(frames, request, max_pixels=self._max_pixels)
                except random_access.SeekError:
                    continue
                except timed_frames.OutOfOrderError:
                    break
        frames = timed_frames.read_all(source, skips_damage=skips_damage)
        return select_frames(frames, request, max_pixels=self._max_pixels)


def _file_version(source: Source) -> tuple[int, ...]:
    """Return what distinguishes a file from a later one at the same path: scratch files may reuse paths."""
    if not isinstance(source, str):
        return ()
    with file_errors():
        status = os.stat(source)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
