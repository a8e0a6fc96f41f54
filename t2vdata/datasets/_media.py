"""What every dataset of media files shares: the options of its clips, the filters, and how a clip becomes frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, Literal

from t2vdata import filters, storage
from t2vdata.errors import DecodeError, RequestError, StorageError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.media import sandbox
from t2vdata.media.span import Wish
from t2vdata.types import Clip, Frames


@dataclass(frozen=True)
class MediaOptions:
    """The options of a dataset of media files; a module's own ``Options`` inherit them."""

    size: int = 64
    """Height and width of a frame, in pixels; 0 keeps the file's own."""
    resize: Literal["shorter", "squash", "pad"] = "shorter"
    """`shorter` brings the shorter side to the size and cuts out the middle, `squash` ignores proportions, `pad` adds black."""
    fps: float | None = None
    """Frames per second, each the one that is shown at its time; the file's own frames unless told."""
    frames: int | None = None
    """Frames in a clip, from the start of its span; all unless told. Shorter clips are left out, pictures are not."""
    windows: int = 1
    """Clips of --frames to cut from each span, spread evenly from its start to its end."""
    max_caption_chars: int | None = None
    """Leave out captions of more characters."""
    max_caption_words: int | None = None
    """Leave out captions of more words."""
    min_seconds: float | None = None
    """Leave out clips that are shorter."""
    min_size: int | None = None
    """Leave out files with fewer pixels on their shorter side."""
    min_motion: float | None = None
    """Leave out static clips: neighbouring frames must differ by so many of 255 levels on average. 0.5 finds stills."""
    timeout: float = 60.0
    """Seconds that decoding a clip may take; a clip that takes longer has failed."""


def check(options: MediaOptions) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    for name, least in (("size", 0), ("windows", 1), ("frames", 1), ("max_caption_chars", 1), ("max_caption_words", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise RequestError(f"--{name.replace('_', '-')} {value}: expected {least} or more")
    for name in ("fps", "timeout", "min_seconds", "min_size", "min_motion"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise RequestError(f"--{name.replace('_', '-')} {value:g}: expected a positive number")
    if options.windows > 1 and options.frames is None:
        raise RequestError(f"--windows {options.windows} needs to know how long a window is; add --frames 32")


def identity() -> dict[str, Any]:
    """Return the versions of the libraries that decide the pixels, for ``source``: with another one it is another build."""
    import av

    versions = {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale")}
    return {"PyAV": av.__version__, **versions, "Pillow": metadata.version("pillow")}


def frame_size(options: MediaOptions) -> tuple[int, int] | None:
    """Return (height, width) of every frame, or None when files keep theirs."""
    return (options.size, options.size) if options.size else None


def caption_filter(options: MediaOptions) -> filters.AnyCaption:
    """Return the filter whose ``kept`` tells which captions of a clip are within the limits."""
    return filters.AnyCaption(options.max_caption_chars, options.max_caption_words)


def clip_filters(options: MediaOptions) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    """Return the filters that the options ask for, and those that every media dataset has."""
    before: list[ClipFilter] = [filters.Told(), filters.HasMedia(), caption_filter(options)]
    after: list[FrameFilter] = [filters.StandardRange()]
    if options.min_size is not None:
        after.append(filters.OriginalSize(options.min_size))
    if options.min_seconds is not None:
        before.append(filters.SpanSeconds(options.min_seconds))
        if options.frames is None:
            after.append(filters.Seconds(options.min_seconds))
    if options.frames is not None:
        after.append(_EnoughFrames(options.frames))
    if options.min_motion is not None:
        after.append(_Moving(options.min_motion))
    return before, after


class _EnoughFrames(filters.NumFrames):
    def why_not(self, frames: Frames, /) -> str | None:
        return None if _is_picture(frames) else super().why_not(frames)


class _Moving(filters.Moving):
    def why_not(self, frames: Frames, /) -> str | None:
        return None if _is_picture(frames) else super().why_not(frames)


def _is_picture(frames: Frames) -> bool:
    return "fps" not in frames.about["original"]


def windows(clips: Iterable[Clip], options: MediaOptions) -> Iterator[Clip]:
    """Yield each clip as often as ``--windows`` says, with the number of its window in key and meta."""
    for clip in clips:
        if options.windows == 1:
            yield clip
        else:
            for number in range(options.windows):
                yield replace(clip, key=f"{clip.key}-w{number}", meta={**clip.meta, "window": number})


def render(clip: Clip, options: MediaOptions) -> Frames:
    """Return the frames of a clip's media file, decoded apart from this process.

    Raises DecodeError with the reason, after where the clip was asked for (``meta["source"]``).
    """
    wish = Wish(
        clip.start_seconds,
        clip.end_seconds,
        options.fps,
        options.frames,
        clip.meta.get("window", 0),
        options.windows,
        options.size or None,
        options.resize,
    )
    try:
        return sandbox.take(_source(str(clip.media)), wish, timeout_seconds=options.timeout)
    except DecodeError as error:
        where = clip.meta.get("source")
        raise DecodeError(f"{where}: {error}" if where else str(error)) from error


def _source(media: str) -> bytes | str:
    """Return the absolute path of a local file, or the bytes at a URL: the helper that decodes stays off the network."""
    try:
        if storage.is_url(media):
            return storage.read_bytes(media)
        if not os.path.isfile(media):
            # Nor a pipe, which would never end.
            raise DecodeError(f"no file {media}")
        storage.open_read(media).close()
    except FileNotFoundError:
        raise DecodeError(f"no file {media}") from None
    except (NotADirectoryError, StorageError) as error:
        raise DecodeError(str(error)) from error
    return os.path.abspath(media)
