"""What every dataset of media files shares: the options of its clips, the filters, and how a clip becomes frames."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from t2vdata import filters, storage
from t2vdata.errors import DamagedError, DecodeError, RequestError, ScratchError, StorageError, StoreAwayError, unknown_name
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.media import matching, sandbox, shots
from t2vdata.media.clip_request import ClipRequest
from t2vdata.storage import prefetch
from t2vdata.storage.download import RangedFile
from t2vdata.text import language
from t2vdata.types import Clip, Frames, without_window


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
    language: str | None = None
    """Leave out captions that cannot be in this language, such as en, by their text. Needs t2vdata[language]."""
    clip_list: Path | None = None
    """Only these clips: a file with a key a line, such as `diff` and `stats` write."""
    exclude_list: Path | None = None
    """All but these clips: a file with a key a line."""
    label_list: Path | None = None
    """Only clips of these labels: a file with a label a line."""
    min_frames: int | None = None
    """Leave out clips with fewer frames."""
    min_seconds: float | None = None
    """Leave out clips that are shorter."""
    max_seconds: float | None = None
    """Leave out clips that are longer."""
    min_size: int | None = None
    """Leave out files with fewer pixels on their shorter side."""
    min_motion: float | None = None
    """Leave out static clips: neighbouring frames must differ by so many of 255 levels on average. 0.5 finds stills."""
    cuts: Literal["keep", "longest", "reject"] = "keep"
    """What to do with a clip of several shots: take it, take its longest shot, or leave it out."""
    min_matches: int | None = None
    """Leave out clips that are not smooth: neighbouring frames match in fewer features. 20 finds cuts. Needs OpenCV."""
    max_file_mb: int = 2048
    """Megabytes that may be fetched for a clip from a file behind a URL; a clip that takes more has failed."""
    timeout: float = 60.0
    """Seconds that decoding a clip may take; a clip that takes longer has failed."""


_LEAST = {
    "size": 0,
    "windows": 1,
    "frames": 1,
    "min_frames": 1,
    "max_caption_chars": 1,
    "max_caption_words": 1,
    "min_matches": 1,
    "max_file_mb": 1,
}


def check(options: MediaOptions) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise RequestError(f"--{name.replace('_', '-')} {value}: expected {least} or more")
    for name in ("fps", "timeout", "min_seconds", "max_seconds", "min_size", "min_motion"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise RequestError(f"--{name.replace('_', '-')} {value:g}: expected a positive number")
    if options.windows > 1 and options.frames is None:
        raise RequestError(f"--windows {options.windows} needs to know how long a window is; add --frames 32")
    if options.frames is not None and (options.min_frames or 0) > options.frames:
        raise RequestError(f"--min-frames {options.min_frames} is more than --frames {options.frames}, which all clips have")
    if (options.min_seconds or 0) > (options.max_seconds or math.inf):
        raise RequestError(f"--min-seconds {options.min_seconds:g} is more than --max-seconds {options.max_seconds:g}")
    if options.language is not None:
        language.check(options.language)
    if options.min_matches is not None and (why := matching.why_not()) is not None:
        raise RequestError(f"--min-matches: {why}")


def missing(options: MediaOptions) -> str | None:
    """Return which of the lists is not there, or None."""
    return next((f"no file {path} ({flag})" for path, flag in _lists(options) if not path.is_file()), None)


def identity(options: MediaOptions | None = None) -> dict[str, Any]:
    """Return what decides pixels and choice beside the raw files, for ``source``: versions of libraries, hashes of lists."""
    import av

    versions = {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale")}
    found: dict[str, Any] = {"PyAV": av.__version__, **versions, "Pillow": metadata.version("pillow")}
    if options is None:
        return found
    if options.language is not None:
        found["py3langid"] = language.version()
    if options.min_matches is not None:
        found["OpenCV"] = matching.version()
    return found | {flag: hashlib.sha256(path.read_bytes()).hexdigest() for path, flag in _lists(options)}


def _lists(options: MediaOptions) -> list[tuple[Path, str]]:
    """Return (file, flag) of the lists of clips and labels that are asked for."""
    lists = {"--clip-list": options.clip_list, "--exclude-list": options.exclude_list, "--label-list": options.label_list}
    return [(path, flag) for flag, path in lists.items() if path is not None]


def frame_size(options: MediaOptions) -> tuple[int, int] | None:
    """Return (height, width) of every frame, or None when files keep theirs."""
    return (options.size, options.size) if options.size else None


def caption_filter(options: MediaOptions) -> filters.AnyCaption:
    """Return the filter whose ``kept`` tells which captions of a clip are within the limits and in the language."""
    return filters.AnyCaption(options.max_caption_chars, options.max_caption_words, options.language)


def clip_filters(options: MediaOptions) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    """Return the filters that the options ask for, and those that every media dataset has: of clips, and of frames."""
    return _before(options), _after(options)


def _before(options: MediaOptions) -> list[ClipFilter]:
    made: list[ClipFilter] = [filters.AnnotationFilter()]
    if options.clip_list is not None:
        made.append(filters.Listed(frozenset(_lines(options.clip_list))))
    if options.exclude_list is not None:
        made.append(filters.NotListed(frozenset(_lines(options.exclude_list))))
    if options.label_list is not None:
        made.append(filters.OneOfLabels(frozenset(_lines(options.label_list))))
    if _limits_duration(options):
        made.append(filters.SpanDuration(options.min_seconds or 0.0, options.max_seconds or math.inf))
    # Whether a file is there takes longest to ask.
    return [*made, caption_filter(options), filters.HasMedia()]


def _limits_duration(options: MediaOptions) -> bool:
    return (options.min_seconds, options.max_seconds) != (None, None)


def _after(options: MediaOptions) -> list[FrameFilter]:
    made: list[FrameFilter] = [filters.StandardRange()]
    if options.min_size is not None:
        made.append(filters.OriginalSize(options.min_size))
    if _limits_duration(options):
        made.append(_OfVideos(filters.FramesDuration(options.min_seconds or 0.0, options.max_seconds or math.inf)))
    if options.frames is not None:
        made.append(_OfVideos(filters.NumFrames(options.frames)))
    if options.min_frames is not None:
        made.append(_OfVideos(filters.NumFrames(options.min_frames)))
    if options.min_motion is not None:
        made.append(_OfVideos(filters.Moving(options.min_motion)))
    if options.cuts == "reject":
        made.append(_OfVideos(_OneShot()))
    if options.min_matches is not None:
        made.append(_OfVideos(filters.Smooth(options.min_matches)))
    return made


def _lines(path: Path) -> list[str]:
    """Return the lines of a list, without comments (#) and empty ones. Raises RequestError when it has none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}); expected one a line") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise RequestError(f"{path} names nothing; expected one a line")
    return found


def check_lists(options: MediaOptions, clips: Iterable[Clip]) -> list[Clip]:
    """Return a clip to be counted for each line of ``--clip-list`` that is none of ``clips``, which are those of all splits.

    Raises RequestError for lists that ``check_names`` refuses.
    """
    if not _lists(options):
        return []
    keys, labels = set[str](), set[str]()
    for clip in clips:
        keys |= clip.list_names
        if "label" in clip.meta:
            labels.add(str(clip.meta["label"]))
    check_names(options, keys, labels)
    return absent(options, keys)


def check_names(options: MediaOptions, keys: Set[str], labels: Set[str]) -> None:
    """Raise RequestError for a label in ``--label-list`` that no clip has, and for an ``--exclude-list`` that names no clip."""
    # A line may be a window of a clip whose windows are not counted here.
    excluded = _lines(options.exclude_list) if options.exclude_list is not None else []
    if keys and excluded and not any(name in keys for line in excluded for name in (line, without_window(line))):
        raise RequestError(
            # Written otherwise than here, most likely.
            f"{options.exclude_list} (--exclude-list) names no clip of this dataset; expected keys such as {min(keys)!r}"
        )
    for label in _lines(options.label_list) if options.label_list is not None else ():
        if not labels:
            raise RequestError(f"no clip has a label here; leave out --label-list {options.label_list}")
        if label not in labels:
            raise unknown_name(f"label (--label-list {options.label_list})", label, labels)


def absent(options: MediaOptions, keys: Container[str]) -> list[Clip]:
    """Return a clip to be counted for each line of ``--clip-list`` that is none of the keys."""
    if options.clip_list is None:
        return []
    made: dict[str, Clip] = {}
    for number, line in enumerate(_lines(options.clip_list), start=1):
        if line not in keys:
            key = re.sub(r"[^A-Za-z0-9_-]", "_", line)[:60] or "empty"
            source = f"{options.clip_list.name}, entry {number}"
            made.setdefault(key, Clip(key, ("-",), group=line, source=source, reject_reason="not in the annotations"))
    return list(made.values())


@dataclass(frozen=True)
class _OfVideos:
    """Asks a filter about videos; pictures pass."""

    asked: FrameFilter

    def why_not(self, frames: Frames, /) -> str | None:
        return None if "fps" not in frames.about["original"] else self.asked.why_not(frames)


@dataclass(frozen=True)
class _OneShot:
    """Keeps clips without a cut."""

    def why_not(self, frames: Frames, /) -> str | None:
        return "a cut" if shots.cuts(frames.data) else None


def windows(clips: Iterable[Clip], options: MediaOptions) -> Iterator[Clip]:
    """Yield each clip as often as ``--windows`` says, with the number of its window in key and meta."""
    for clip in clips:
        if options.windows == 1:
            yield clip
        else:
            yield from map(clip.cut_window, range(options.windows))


def render(clip: Clip, options: MediaOptions) -> Frames:
    """Return the frames of a clip's media file, decoded apart from this process.

    Raises DecodeError with the reason, after where the clip was asked for (``clip.source``).
    """
    wish = ClipRequest(
        clip.start_seconds,
        clip.end_seconds,
        options.fps,
        options.frames,
        clip.window or 0,
        options.windows,
        options.size or None,
        options.resize,
        shot="longest" if options.cuts == "longest" else "all",
        counts_matches=options.min_matches is not None,
        # Without --frames, the clip is as long as its frames.
        measures_seconds=options.frames is not None and _limits_duration(options),
    )
    try:
        return sandbox.take(_source(clip, options.max_file_mb), wish, timeout_seconds=options.timeout)
    except DecodeError as error:
        raise DecodeError(f"{clip.source}: {error}" if clip.source else str(error)) from error


def original(clip: Clip, options: MediaOptions) -> bytes:
    """Return the bytes of a clip's media file."""
    return prefetch.read(clip, options.max_file_mb) if prefetch.needs_download(clip) else storage.read_bytes(_path(clip))


def _path(clip: Clip) -> str:
    if clip.media is None:
        raise DecodeError(f"clip {clip.key} has no media file; a dataset of media files sets Clip.media")
    return clip.media.path


def _source(clip: Clip, max_megabytes: int) -> bytes | str | sandbox.Ranged:
    """Return the absolute path of a file, its bytes, or its ranges: the helper that decodes stays off the network."""
    media = _path(clip)
    try:
        if prefetch.needs_download(clip):
            return _within(prefetch.fetch(clip, max_megabytes), max_megabytes)
        if not os.path.isfile(media):
            # Nor a pipe, which would never end.
            raise DecodeError(f"no file {media}")
        storage.open_read(media).close()
    except FileNotFoundError:
        raise DecodeError(f"no file {media}") from None
    except (StoreAwayError, ScratchError):
        raise
    except (NotADirectoryError, StorageError, DamagedError) as error:
        raise DecodeError(str(error)) from error
    return os.path.abspath(media)


def _within(source: bytes | str | RangedFile, max_megabytes: int) -> bytes | str | sandbox.Ranged:
    """Return what the decoder takes; of a span, it may ask for so many megabytes."""
    if not isinstance(source, RangedFile):
        return source
    span, left = source, max_megabytes * 1_000_000

    def read(start: int, end: int) -> bytes:
        nonlocal left
        left -= end - start
        if left < 0:
            raise DecodeError(
                f"over {max_megabytes} MB of {span.url} for one clip; allow more with --max-file-mb, or fetch it first"
            )
        try:
            return span.read(start, end)
        except (StoreAwayError, ScratchError):
            raise
        except (FileNotFoundError, StorageError) as error:
            raise DecodeError(str(error)) from error

    return sandbox.Ranged(span.url, span.num_bytes, read)
