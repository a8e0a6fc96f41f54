"""Frames of a span of any media file, at the times and in the size that are wanted: one decoding, no more of it than needed.

Time 0 is the file's first frame. MP4, MOV, Matroska and WebM are decoded from the key frame before the span to the last
frame that is wanted. Other containers have no time for each frame, or none to be trusted: they are decoded from the start.
Damaged files give the frames up to the first damage, as ``open_video`` does.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from t2vdata.errors import DecodeError
from t2vdata.media import matching, shots
from t2vdata.media.decode import containers
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.probe import Source
from t2vdata.types import Frames

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

Resize = Literal["shorter", "squash", "pad"]
# Of three bytes, of what is kept of one span: 30 s at 30 fps in 640x360.
MAX_PIXELS = 1 << 28
# Time stamps are rounded by their containers.
_ROUNDING_SECONDS = 1e-6
_IN_ORDER = ("mov", "matroska")
# Pillow's names. Each sniffed by itself: Pillow would try all of its formats otherwise.
_PICTURES = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"))


@dataclass(frozen=True)
class ClipRequest:
    """Which frames of a file, and how large."""

    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None
    """Frames per second, each the one shown at its time; None takes the file's own frames."""
    num_frames: int | None = None
    """Frames at most; None takes all of the span."""
    window: int = 0
    num_windows: int = 1
    """Windows of ``num_frames``, spread evenly over the span from its start to its end; a single one is at its start."""
    size: int | None = None
    """Height and width; None keeps those of the file."""
    resize: Resize = "shorter"
    """``shorter`` brings the shorter side to the size and cuts out the middle, ``squash`` ignores the file's proportions,
    ``pad`` brings the longer side to the size and puts black bars beside it."""
    shot: Literal["all", "longest"] = "all"
    """Whether the span is first cut to its longest shot."""
    matched: bool = False
    """Whether ``Frames.about`` has ``matches``: how well neighbouring frames match, at the worst place."""
    timed: bool = False
    """Whether ``Frames.about`` has ``seconds``: how long the span is, or its longest shot, before frames are chosen."""

    @property
    def takes_all(self) -> bool:
        """Whether all frames of the span are looked at before some are chosen."""
        return self.num_frames is None or self.num_windows > 1 or self.shot == "longest"


def take(source: Source, wish: ClipRequest) -> Frames:
    """Return the frames of a video or picture, (T, size, size, 3) uint8; fewer than wanted where the span ends before.

    ``source`` is the bytes of a file, its absolute path, or the file, open. ``Frames.about`` has ``original``: the file's
    height, width, rate, codec, and whether it is HDR. Raises DecodeError when there is no frame.
    """
    kind = _picture(probing.head_of(source))
    if kind is not None:
        return _still(source, kind, wish)
    choosing = wish.num_windows > 1 or wish.shot == "longest"
    whole = _whole(source, dataclasses.replace(wish, window=0)) if choosing else _taken(source, wish)
    chosen = slice(0, wish.num_frames)
    if wish.num_frames is not None:
        room = max(0, len(whole.data) - wish.num_frames)
        first = round(room * wish.window / max(1, wish.num_windows - 1))
        chosen = slice(first, first + wish.num_frames)
    about: dict[str, Any] = {"original": whole.original}
    if wish.matched:
        about["matches"] = matching.fewest_matches(whole.greys[chosen])
    if wish.timed:
        about["seconds"] = round(whole.seconds, 3)
    return Frames(whole.data[chosen], whole.fps, about)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Frames of a span."""

    data: Array
    fps: float
    original: dict[str, Any]
    greys: list[Array]
    """The same frames, larger and grey, where they are to be matched."""
    seconds: float
    """Of the span, where it was read to its end."""


_last: tuple[object, _Taken] | None = None


def _whole(source: Source, wish: ClipRequest) -> _Taken:
    """Return all frames of the span, or of its longest shot; kept for the next window of the clip, which asks for the same."""
    global _last
    key = (source, _state(source), wish)
    if _last is None or _last[0] != key:
        _last = None
        whole = _taken(source, wish)
        if wish.shot == "longest":
            shot = shots.longest(whole.data)
            seconds = (shot.stop - shot.start) / whole.fps
            whole = dataclasses.replace(whole, data=whole.data[shot], greys=whole.greys[shot], seconds=seconds)
        _last = (key, whole)
    return _last[1]


def _state(source: Source) -> tuple[int, ...]:
    """Return what tells a file from another under its path: a scratch file may get that of the one before."""
    if not isinstance(source, str):
        return ()
    told = os.stat(source)
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


class _OutOfOrderError(Exception):
    """Time stamps do not rise."""


def _taken(source: Source, wish: ClipRequest) -> _Taken:
    name = containers.demuxer(probing.head_of(source))
    if name in _IN_ORDER:
        try:
            return _picked(_streamed(source, name, wish), wish)
        except _OutOfOrderError:
            pass
    return _picked(_probed(source), wish)


@dataclass(slots=True)
class _Shown:
    """A frame, when it is shown from, and the rate and damage of its file."""

    seconds: float
    frame: av.VideoFrame | None
    """None says that the file is damaged here."""
    fps: float
    codec: str
    turns: int


def _streamed(source: Source, name: str, wish: ClipRequest) -> Iterator[_Shown]:
    """Yield frames from the last key frame before the span on. Raises _OutOfOrderError for what has no rising time stamps."""
    import av

    with probing.opened(source, name) as (container, stream):
        base, origin = float(stream.time_base or 0), stream.start_time or 0
        if not base:
            raise _OutOfOrderError
        if wish.start_seconds:
            container.seek(origin + math.floor(wish.start_seconds / base), stream=stream)
        fps, codec, last = probing.average_fps(stream, []), stream.codec_context.name, -math.inf
        try:
            for packet in probing.packets(container, stream):
                for frame in stream.codec_context.decode(None if packet.is_corrupt else packet):
                    if frame.pts is None or frame.pts <= last:
                        raise _OutOfOrderError
                    last = frame.pts
                    yield _Shown((frame.pts - origin) * base, frame, fps, codec, round(frame.rotation / 90) % 4)
                if packet.is_corrupt:
                    break
        except av.FFmpegError:
            # The frames up to the first damage count.
            return


def _probed(source: Source) -> Iterator[_Shown]:
    """Yield all frames, by the times that a pass over the whole file finds."""
    found = probing.probe(source)
    frames = iter(found.frames) if found.frames is not None else _again(found)
    for seconds, frame in zip(found.seconds, frames, strict=False):
        yield _Shown(seconds - found.seconds[0], frame, found.fps, found.codec, found.turns)


def _again(found: probing.Probe) -> Iterator[av.VideoFrame]:
    wanted = set(found.order)
    with probing.opened(found.source, found.demuxer) as (container, stream):
        for ordinal, packet in enumerate(probing.packets(container, stream)):
            if packet.size:
                packet.pts = ordinal
            for frame in stream.codec_context.decode(None if packet.is_corrupt else packet):
                if frame.pts in wanted:
                    wanted.remove(frame.pts)
                    yield frame
            if packet.is_corrupt or not wanted:
                return


def _picked(shown: Iterator[_Shown], wish: ClipRequest) -> _Taken:
    """Return the frames of the span at the wished rate and size."""
    import numpy as np

    start, end = wish.start_seconds or 0.0, math.inf if wish.end_seconds is None else wish.end_seconds
    kept = _Kept(wish)
    before: _Shown | None = None
    for now in shown:
        kept.see(now)
        if wish.fps is None:
            if start - _ROUNDING_SECONDS <= now.seconds < end and len(kept.frames) < kept.enough:
                kept.add(now)
        elif before is not None:
            kept.fill(before, now.seconds, start)
        before = now
        if now.seconds >= end or (len(kept.frames) >= kept.enough and not wish.timed):
            break
    else:
        if before is not None and wish.fps is not None:
            kept.fill(before, before.seconds + 1 / before.fps, start)
    if before is None:
        raise DecodeError("no frame decodes")
    if not kept.frames:
        raise DecodeError(f"no frame from {start:g} s on: the file ends at {before.seconds + 1 / before.fps:.3g} s")
    seconds = min(end, before.seconds + 1 / before.fps) - start
    return _Taken(np.stack(kept.frames), wish.fps or before.fps, kept.original, kept.greys, seconds)


class _Kept:
    """The frames taken so far, as pixels of the final size."""

    def __init__(self, wish: ClipRequest) -> None:
        from av.video.reformatter import VideoReformatter

        self.frames: list[Array] = []
        self.greys: list[Array] = []
        self.original: dict[str, Any] = {}
        self.enough = math.inf if wish.takes_all or wish.num_frames is None else wish.num_frames
        self._wish = wish
        self._reformatter = VideoReformatter()
        self._made: tuple[object, Array, Array | None] | None = None
        self._bytes = 0

    def see(self, shown: _Shown) -> None:
        """Note what the file is, once."""
        if self.original or shown.frame is None:
            return
        frame, sideways = shown.frame, bool(shown.turns % 2)
        height, width = (frame.width, frame.height) if sideways else (frame.height, frame.width)
        self.original = {"height": height, "width": width, "fps": shown.fps, "codec": shown.codec}
        self.original["hdr"] = probing.is_hdr(frame)

    def fill(self, shown: _Shown, until: float, start: float) -> None:
        """Take a frame for every time of the grid that comes before ``until``."""
        wish = self._wish
        fps = wish.fps or 1.0
        end = math.inf if wish.end_seconds is None else wish.end_seconds
        while len(self.frames) < self.enough:
            time = start + len(self.frames) / fps
            if time + _ROUNDING_SECONDS >= until or time + _ROUNDING_SECONDS >= end:
                return
            self.add(shown)

    def add(self, shown: _Shown) -> None:
        """Take a frame once more, or for the first time."""
        if self._made is None or self._made[0] is not shown:
            self._made = (shown, self._pixels_of(shown), self._grey_of(shown) if self._wish.matched else None)
            # A grey frame that comes again is the same object.
            self._bytes += 0 if self._made[2] is None else self._made[2].size
        self.frames.append(self._made[1])
        if self._made[2] is not None:
            self.greys.append(self._made[2])
        self._bytes += self._made[1].size
        if self._bytes > 3 * MAX_PIXELS:
            raise DecodeError(f"over {MAX_PIXELS} pixels in one {_what_to_change(self._wish)}")

    def _pixels_of(self, shown: _Shown) -> Array:
        import numpy as np

        frame = shown.frame
        if frame is None or frame.width * frame.height != self.original["width"] * self.original["height"]:
            raise DecodeError("the size changes within the file")
        height, width = _scaled(self.original["height"], self.original["width"], self._wish)
        if shown.turns % 2:
            height, width = width, height
        # Bicubic: what FFmpeg does by itself. The range is named, as PyAV takes it for limited.
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="BICUBIC", src_color_range=frame.color_range or None, threads=1
        )
        return _fitted(np.rot90(rgb.to_ndarray(), shown.turns), self._wish)

    def _grey_of(self, shown: _Shown) -> Array:
        assert shown.frame is not None  # noqa: S101  # its pixels were just made
        height, width = _scaled(shown.frame.height, shown.frame.width, ClipRequest(size=matching.SIDE))
        grey = self._reformatter.reformat(shown.frame, width, height, "gray", interpolation="AREA", threads=1)
        pixels: Array = grey.to_ndarray()  # type: ignore[assignment]
        return pixels


def _what_to_change(wish: ClipRequest) -> str:
    """Return what has too many pixels, and how it gets fewer."""
    what = "clip; use --frames, " if wish.num_frames is None else "clip; use fewer --frames, "
    if wish.num_frames is not None and wish.takes_all:
        what = "span, all of which is looked at before frames are chosen; use "
    # In 64x64, a minute of 340x256 at 25 fps has 6 million pixels, and its larger grey frames the bytes of 38 million.
    return f"{what}a smaller --size, {'no --min-matches, ' if wish.matched else ''}or a shorter span"


def _scaled(height: int, width: int, wish: ClipRequest) -> tuple[int, int]:
    """Return (height, width) of the whole picture at the wished size, before it is cut or padded."""
    if wish.size is None:
        return height, width
    if wish.resize == "squash":
        return wish.size, wish.size
    side = min(height, width) if wish.resize == "shorter" else max(height, width)
    # Halves up: Python's round would take the even side.
    return max(1, (2 * height * wish.size + side) // (2 * side)), max(1, (2 * width * wish.size + side) // (2 * side))


def _fitted(picture: Array, wish: ClipRequest) -> Array:
    """Return the middle of a picture, or the picture in the middle of black: (size, size, 3)."""
    import numpy as np

    if wish.size is None or picture.shape[:2] == (wish.size, wish.size):
        return np.ascontiguousarray(picture)
    height, width = picture.shape[:2]
    if wish.resize == "shorter":
        top, left = (height - wish.size) // 2, (width - wish.size) // 2
        return np.ascontiguousarray(picture[top : top + wish.size, left : left + wish.size])
    made = np.zeros((wish.size, wish.size, 3), np.uint8)
    top, left = (wish.size - height) // 2, (wish.size - width) // 2
    made[top : top + height, left : left + width] = picture
    return made


def _picture(head: bytes) -> str | None:
    """Return Pillow's name of the picture format that begins so, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _PICTURES if head.startswith(magic)), None)


def _rewound(source: Source) -> str | IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str):
        source.seek(0)
    return cast("str | IO[bytes]", source)


def _still(source: Source, kind: str, wish: ClipRequest) -> Frames:
    """Return a picture as a clip of one frame, upright, transparent parts on white."""
    import numpy as np
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(_rewound(source), formats=[kind]) as file:
            if file.width * file.height > MAX_PIXELS:
                raise DecodeError(f"a picture of {file.width}x{file.height}, over the limit of {MAX_PIXELS} pixels")
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                paper = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(paper, picture.convert("RGBA"))
            picture = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, OverflowError, EOFError) as error:
        raise DecodeError(f"{error} ({kind})") from error
    height, width = _scaled(picture.height, picture.width, wish)
    original = {"height": picture.height, "width": picture.width, "codec": kind.lower(), "hdr": False}
    if (height, width) != (picture.height, picture.width):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return Frames(_fitted(np.asarray(picture), wish)[None], wish.fps or 1.0, {"original": original})
