"""Filters: ``why_not`` returns the reason to reject a clip, or None.

A clip filter sees a ``Clip`` before any work is done, a frame filter sees its ``Frames``. A reason is a short text that is
the same for every clip it applies to ("caption over 60 characters"), so that builds can count reasons.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import orjson

from t2vdata import storage
from t2vdata.errors import RequestError
from t2vdata.text import captions, language
from t2vdata.types import Clip, Frames

Subject = TypeVar("Subject", contravariant=True)


class Filter(Protocol[Subject]):
    """A filter of clips, or of frames."""

    def why_not(self, subject: Subject, /) -> str | None: ...


ClipFilter = Filter[Clip]
FrameFilter = Filter[Frames]


def first_reason(subject: Subject, filters: Iterable[Filter[Subject]]) -> str | None:
    """Return the reason of the first filter that rejects, or None."""
    return next((reason for subject_filter in filters if (reason := subject_filter.why_not(subject)) is not None), None)


# Captions


@dataclass(frozen=True)
class HasCaption:
    """Keep clips that have a caption; every build applies this filter."""

    def why_not(self, clip: Clip, /) -> str | None:
        return None if clip.captions and all(caption.strip() for caption in clip.captions) else "no caption"


@dataclass(frozen=True)
class Storable:
    """Keep clips whose texts and numbers a shard can hold: valid Unicode, integers of 64 bits. Every build applies it.

    Other values in ``meta`` are a bug of the dataset, not of its data, and pass.
    """

    def why_not(self, clip: Clip, /) -> str | None:
        media = None if clip.media is None else clip.media.name or clip.media.path
        content = (clip.captions, clip.group, clip.source, media, clip.meta)
        try:
            orjson.dumps(content)
        except TypeError:
            return _why_not_storable(content)
        return None


def _why_not_storable(value: object) -> str | None:
    if isinstance(value, str):
        return None if captions.is_unicode(value) else "a text that is not valid Unicode"
    if isinstance(value, int):
        return None if -(1 << 63) <= value < 1 << 64 else "an integer beyond 64 bits"
    if isinstance(value, Mapping):
        value = (*value.keys(), *value.values())
    if isinstance(value, list | tuple):
        return next((reason for item in value if (reason := _why_not_storable(item)) is not None), None)
    return None


@dataclass(frozen=True)
class CaptionLength:
    """Keep clips whose first caption has ``min_chars`` to ``max_chars`` characters."""

    max_chars: int
    min_chars: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.min_chars <= self.max_chars:
            raise RequestError(f"caption length from {self.min_chars} to {self.max_chars} characters keeps nothing")

    def why_not(self, clip: Clip, /) -> str | None:
        num_chars = len(clip.captions[0]) if clip.captions else 0
        if num_chars > self.max_chars:
            return f"caption over {self.max_chars} characters"
        if num_chars < self.min_chars:
            return f"caption under {self.min_chars} characters"
        return None


@dataclass(frozen=True)
class AnyCaption:
    """Keep clips with a caption within limits of length and in a language; None is no limit."""

    max_chars: int | None = None
    max_words: int | None = None
    language: str | None = None
    """ISO 639-1 code, see ``t2vdata.text.language``."""

    def kept(self, captions: Iterable[str]) -> tuple[str, ...]:
        """Return the captions within the limits, in order; all of them if none is, so that the filter can give the reason."""
        captions = tuple(captions)
        return tuple(caption for caption in captions if self._why_not(caption) is None) or captions

    def why_not(self, clip: Clip, /) -> str | None:
        reasons = [self._why_not(caption) for caption in clip.captions]
        return reasons[0] if reasons and all(reasons) else None

    def _why_not(self, caption: str) -> str | None:
        if self.max_chars is not None and len(caption) > self.max_chars:
            return f"no caption of {self.max_chars} characters or fewer"
        if self.max_words is not None and len(caption.split()) > self.max_words:
            return f"no caption of {self.max_words} words or fewer"
        if self.language is not None and not language.is_in(caption, self.language):
            return f"no caption in {self.language}"
        return None


# Annotations, lists and files


@dataclass(frozen=True)
class AnnotationFilter:
    """Reject clips that their annotations rule out, with ``Clip.reject_reason``."""

    def why_not(self, clip: Clip, /) -> str | None:
        return clip.reject_reason


@dataclass(frozen=True)
class HasMedia:
    """Keep clips whose media file exists; a folder or a pipe is none.

    Files at URLs outside a listing are assumed to exist: a check costs a request.
    """

    def why_not(self, clip: Clip, /) -> str | None:
        media = clip.media
        if media is None:
            return None
        if media.absent_reason is not None:
            return media.absent_reason
        is_listed = media.size_bytes is not None or media.is_in_archive
        return None if is_listed or storage.is_url(media.path) or os.path.isfile(media.path) else "no media file"


@dataclass(frozen=True)
class Listed:
    """Keep clips whose key is in a list. A window counts as listed if the key of its clip is."""

    keys: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return "not in the clip list" if self.keys.isdisjoint(clip.list_names) else None


@dataclass(frozen=True)
class NotListed:
    """Reject clips whose key is in a list. A window counts as listed if the key of its clip is."""

    keys: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return None if self.keys.isdisjoint(clip.list_names) else "in the exclude list"


@dataclass(frozen=True)
class OneOfLabels:
    """Keep clips whose label is in a list, compared exactly."""

    labels: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return None if clip.meta.get("label") in self.labels else "label not in the list"


# Duration


@dataclass(frozen=True)
class DurationRange:
    """A closed range of durations in seconds, and the reason for a duration outside it."""

    min_seconds: float = 0.0
    max_seconds: float = math.inf

    def why_not_seconds(self, seconds: float) -> str | None:
        if seconds < self.min_seconds:
            return f"shorter than {self.min_seconds:g} s"
        return f"longer than {self.max_seconds:g} s" if seconds > self.max_seconds else None


@dataclass(frozen=True)
class SpanDuration(DurationRange):
    """Keep clips whose span is within the range. Spans without an end pass: only the file shows how long they are."""

    def why_not(self, clip: Clip, /) -> str | None:
        if clip.end_seconds is None:
            return None
        return self.why_not_seconds(clip.end_seconds - (clip.start_seconds or 0))


@dataclass(frozen=True)
class FramesDuration(DurationRange):
    """Keep clips whose decoded duration is within the range: that of the span if ``about`` has it, else of the frames."""

    def why_not(self, frames: Frames, /) -> str | None:
        return self.why_not_seconds(float(frames.about.get("seconds", frames.num_frames / frames.fps)))


# Frames


@dataclass(frozen=True)
class NumFrames:
    """Keep clips of at least ``at_least`` frames."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        return f"fewer than {self.at_least} frames" if frames.num_frames < self.at_least else None


@dataclass(frozen=True)
class OriginalSize:
    """Keep clips whose media file has at least ``at_least`` pixels on its shorter side."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        original = frames.about["original"]
        return f"under {self.at_least} pixels" if min(original["height"], original["width"]) < self.at_least else None


@dataclass(frozen=True)
class StandardRange:
    """Reject clips with a high dynamic range, because their colours would look pale."""

    def why_not(self, frames: Frames, /) -> str | None:
        return "high dynamic range" if frames.about["original"]["hdr"] else None


@dataclass(frozen=True)
class Moving:
    """Keep clips whose neighbouring frames differ by at least ``min_difference`` grey levels on average."""

    min_difference: float

    def why_not(self, frames: Frames, /) -> str | None:
        import numpy as np

        levels = frames.data.astype(np.int16)
        difference = float(np.abs(np.diff(levels, axis=0)).mean()) if frames.num_frames > 1 else 0.0
        is_static = difference < self.min_difference
        return f"static: frames differ by less than {self.min_difference:g} levels" if is_static else None


@dataclass(frozen=True)
class Smooth:
    """Keep clips whose neighbouring frames match in at least ``min_matches`` features, see ``t2vdata.media.frame_matching``."""

    min_matches: int

    def why_not(self, frames: Frames, /) -> str | None:
        is_smooth = frames.about["matches"] >= self.min_matches
        return None if is_smooth else f"not smooth: fewer than {self.min_matches} matches"
