"""`MediaDataset`: the base class for video and picture files. `MediaOptions` select, cut, resize and filter clips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from t2vdata import filters
from t2vdata.datasets import _decoding
from t2vdata.datasets.base import Dataset
from t2vdata.datasets.clip_lists import ClipLists
from t2vdata.datasets.options import added_option
from t2vdata.errors import RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.media import frame_matching, shots
from t2vdata.media.clip_request import CLIP_READER_VERSION, ClipRequest
from t2vdata.text import language
from t2vdata.types import Clip, Frames


@dataclass(frozen=True)
class MediaOptions:
    """The options of a dataset of media files; its own ``Options`` inherit them."""

    size: int = 64
    """Height and width of a frame, in pixels; 0 keeps the file's size."""
    resize: Literal["shorter", "squash", "pad"] = "shorter"
    """`shorter` scales the shorter side to the size and crops the centre, `squash` ignores proportions, `pad` adds black."""
    deinterlace: bool = added_option(False)
    """Make whole pictures of interlaced frames, which otherwise show both of their fields as combs."""
    fps: float | None = None
    """Frames per second to sample, each the frame shown at that time; default: every frame of the file."""
    frames: int | None = None
    """Frames per clip, from the start of its span; default: all. Shorter clips are rejected, pictures are not."""
    windows: int = 1
    """Clips of --frames to cut from each span, spread evenly from its start to its end."""
    max_caption_chars: int | None = None
    """Drop captions with more characters than this."""
    max_caption_words: int | None = None
    """Drop captions with more words than this."""
    language: str | None = None
    """Drop captions whose text cannot be in this language, such as en. Needs t2vdata[language]."""
    clip_list: Path | None = None
    """Only these clips: a file with one key per line, such as `diff` and `stats` write."""
    exclude_list: Path | None = None
    """All but these clips: a file with one key per line."""
    label_list: Path | None = None
    """Only clips with these labels: a file with one label per line."""
    min_frames: int | None = None
    """Reject clips with fewer frames than this."""
    min_seconds: float | None = None
    """Reject clips shorter than this, in seconds."""
    max_seconds: float | None = None
    """Reject clips longer than this, in seconds."""
    min_size: int | None = None
    """Reject files with fewer pixels than this on their shorter side."""
    min_motion: float | None = None
    """Reject static clips: minimum mean difference of neighbouring frames, in grey levels of 255. 0.5 finds stills."""
    cuts: Literal["keep", "longest", "reject"] = "keep"
    """What to do with a clip of several shots: keep it whole, keep its longest shot, or reject it."""
    min_matches: int | None = None
    """Reject clips that are not smooth: minimum number of matching features of neighbouring frames. 20 finds cuts. Needs
    OpenCV."""
    skip_damage: bool = added_option(False)
    """Also use what comes after damage in a file, from the next key frame on; default: only the frames before it."""
    max_file_mb: int = 2048
    """Maximum download per clip from a file behind a URL, in megabytes; a clip that needs more fails."""
    timeout: float = 60.0
    """Maximum decoding time of a clip, in seconds of processor time or sleep; a clip that takes longer fails."""


class MediaDataset(Dataset):
    """A dataset of media files. A subclass adds ``clips``, with ``Clip.media`` set, ``missing`` and ``source``.

    ``clips`` cuts windows (``cut_windows``), drops captions outside the limits (``kept_captions``), and may add
    ``lists.unmatched``; ``source`` includes ``decoder_identity``.
    """

    Options: ClassVar[type] = MediaOptions

    @property
    def media_options(self) -> MediaOptions:
        """The media options in effect. Override it if a preset changes them, or if Options do not inherit them."""
        return cast(MediaOptions, self.options)

    @property
    def lists(self) -> ClipLists:
        """The lists of clips and labels among the options."""
        options = self.media_options
        return ClipLists(options.clip_list, options.exclude_list, options.label_list)

    @staticmethod
    def check(options: Any) -> None:
        """Raise RequestError for media options that are out of range or contradict each other."""
        check_media_options(options)

    def missing(self) -> str | None:
        """Return which list of clips or labels does not exist, or None."""
        return self.lists.missing()

    def render(self, clip: Clip) -> Frames:
        """Return the frames of a clip's media file. Raises DecodeError with the reason, after the clip's source."""
        options = self.media_options
        request = ClipRequest(
            clip.start_seconds,
            clip.end_seconds,
            options.fps,
            options.frames,
            clip.window or 0,
            options.windows,
            options.size or None,
            options.resize,
            shot="longest" if options.cuts == "longest" else "all",
            deinterlaces=options.deinterlace,
            counts_matches=options.min_matches is not None,
            skips_damage=options.skip_damage,
            measures_seconds=_limits_duration(options),
        )
        return _decoding.decode(
            clip,
            request,
            max_megabytes=options.max_file_mb,
            timeout_seconds=options.timeout,
            data=self.embedded_file(clip),
        )

    def embedded_file(self, clip: Clip) -> bytes | None:
        """Return the bytes of a media file that is part of the annotations, or None for a file of its own."""
        return None

    def frame_size(self) -> tuple[int, int] | None:
        """Return (height, width) of every frame, or None if files keep their own size."""
        size = self.media_options.size
        return (size, size) if size else None

    def clip_filters(self) -> list[ClipFilter]:
        """Return the filters that the options enable, and those that every media dataset applies."""
        return self._clip_filters(self.lists)

    def _clip_filters(self, lists: ClipLists) -> list[ClipFilter]:
        options = self.media_options
        chosen: list[ClipFilter] = [filters.AnnotationFilter(), *lists.filters()]
        if _limits_duration(options):
            chosen.append(filters.SpanDuration(options.min_seconds or 0.0, options.max_seconds or math.inf))
        # Last, because checking for a file takes longest.
        return [*chosen, self._caption_filter(), filters.HasMedia()]

    def frame_filters(self) -> list[FrameFilter]:
        """Return the filters that the options enable, and those that every media dataset applies."""
        options = self.media_options
        chosen: list[FrameFilter] = [filters.StandardRange()]
        if options.min_size is not None:
            chosen.append(filters.OriginalSize(options.min_size))
        return [*chosen, *map(_OnlyVideos, _video_filters(options))]

    def cut_windows(self, clips: Iterable[Clip]) -> Iterator[Clip]:
        """Yield ``--windows`` windows of each clip, or the clip itself if that is 1."""
        num_windows = self.media_options.windows
        for clip in clips:
            yield from (clip,) if num_windows == 1 else map(clip.cut_window, range(num_windows))

    def kept_captions(self, captions: Iterable[str]) -> tuple[str, ...]:
        """Return the captions within the limits, in order; all of them if none is, and the build then rejects the clip."""
        return self._caption_filter().kept(captions)

    def decoder_identity(self) -> dict[str, Any]:
        """Return what else affects the pixels and the choice of clips, for ``source``: library versions, hashes of lists."""
        return decoder_identity(self.media_options, self.lists)

    def media_bytes(self, clip: Clip) -> bytes:
        """Return the content of a clip's media file."""
        return _decoding.media_bytes(clip, self.media_options.max_file_mb)

    def _caption_filter(self) -> filters.AnyCaption:
        options = self.media_options
        return filters.AnyCaption(options.max_caption_chars, options.max_caption_words, options.language)


_MINIMUM = {
    "size": 0,
    "windows": 1,
    "frames": 1,
    "min_frames": 1,
    "max_caption_chars": 1,
    "max_caption_words": 1,
    "min_matches": 1,
    "max_file_mb": 1,
}


def check_media_options(options: MediaOptions) -> None:
    """Raise RequestError for options that are out of range or contradict each other."""
    for name, minimum in _MINIMUM.items():
        value = getattr(options, name)
        if value is not None and value < minimum:
            raise RequestError(f"--{name.replace('_', '-')} {value}: expected {minimum} or more")
    for name in ("fps", "timeout", "min_seconds", "max_seconds", "min_size", "min_motion"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise RequestError(f"--{name.replace('_', '-')} {value:g}: expected a positive number")
    if options.windows > 1 and options.frames is None:
        raise RequestError(f"--windows {options.windows} needs the length of a window; add --frames 32")
    if options.frames is not None and (options.min_frames or 0) > options.frames:
        raise RequestError(f"--min-frames {options.min_frames} is more than --frames {options.frames}, which all clips have")
    if (options.min_seconds or 0) > (options.max_seconds or math.inf):
        raise RequestError(f"--min-seconds {options.min_seconds:g} is more than --max-seconds {options.max_seconds:g}")
    if options.language is not None:
        language.check(options.language)
    if options.min_matches is not None and (why := frame_matching.why_not()) is not None:
        raise RequestError(f"--min-matches: {why}")


def decoder_identity(options: MediaOptions, lists: ClipLists) -> dict[str, Any]:
    """Return the versions of the libraries that affect pixels and filters, and the hashes of the lists."""
    import av

    versions = {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale")}
    identity: dict[str, Any] = {
        "clip_reader": CLIP_READER_VERSION,
        "PyAV": av.__version__,
        **versions,
        "Pillow": metadata.version("pillow"),
    }
    if options.language is not None:
        identity["py3langid"] = language.version()
    if options.min_matches is not None:
        identity["OpenCV"] = frame_matching.version()
    return identity | lists.hashes()


def published(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a clip's ``meta`` that have a value: the JSON of a sample has no nulls."""
    return {name: value for name, value in meta.items() if value is not None}


def _limits_duration(options: MediaOptions) -> bool:
    return (options.min_seconds, options.max_seconds) != (None, None)


def _video_filters(options: MediaOptions) -> Iterator[FrameFilter]:
    if _limits_duration(options):
        yield filters.FramesDuration(options.min_seconds or 0.0, options.max_seconds or math.inf)
    if options.frames is not None:
        yield filters.NumFrames(options.frames)
    if options.min_frames is not None:
        yield filters.NumFrames(options.min_frames)
    if options.min_motion is not None:
        yield filters.Moving(options.min_motion)
    if options.cuts == "reject":
        yield _OneShot()
    if options.min_matches is not None:
        yield filters.Smooth(options.min_matches)


@dataclass(frozen=True)
class _OnlyVideos:
    """Apply a filter to videos; pictures pass."""

    video_filter: FrameFilter

    def why_not(self, frames: Frames, /) -> str | None:
        return self.video_filter.why_not(frames) if "fps" in frames.about["original"] else None


@dataclass(frozen=True)
class _OneShot:
    """Keep clips without a cut."""

    def why_not(self, frames: Frames, /) -> str | None:
        return "a cut" if shots.cuts(frames.data) else None
