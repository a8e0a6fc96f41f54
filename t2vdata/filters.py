"""Why not? Filters answer with the reason to leave a clip out, or None.

A clip filter looks at a ``Clip`` before any work is done, a frame filter at its ``Frames``. A reason is a short text that
is the same for all clips it applies to ("caption over 60 characters"), so that reasons can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from t2vdata import storage
from t2vdata.errors import RequestError
from t2vdata.text import language
from t2vdata.types import ABSENT, Clip, Frames

_WINDOW = re.compile(r"-w\d+$")

Subject = TypeVar("Subject", contravariant=True)


class Filter(Protocol[Subject]):
    """Looks at a clip, or at its frames."""

    def why_not(self, subject: Subject, /) -> str | None: ...


ClipFilter = Filter[Clip]
FrameFilter = Filter[Frames]


def first_reason(subject: Subject, filters: Iterable[Filter[Subject]]) -> str | None:
    """Return the reason of the first filter that has one, or None."""
    return next((reason for one in filters if (reason := one.why_not(subject)) is not None), None)


@dataclass(frozen=True)
class HasCaption:
    """Keeps clips that have a caption; every build applies it."""

    def why_not(self, clip: Clip, /) -> str | None:
        return None if clip.captions and all(caption.strip() for caption in clip.captions) else "no caption"


@dataclass(frozen=True)
class CaptionLength:
    """Keeps clips whose first caption has at most ``max_chars`` characters and at least ``min_chars``."""

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
    """Keeps clips with a caption of at most so many characters and words, in a language; None is no limit."""

    max_chars: int | None = None
    max_words: int | None = None
    language: str | None = None
    """ISO 639-1 code, see ``t2vdata.text.language``."""

    def kept(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return the captions that are within the limits, in order; all of them when none is."""
        told = tuple(texts)
        return tuple(text for text in told if self._why_not(text) is None) or told

    def why_not(self, clip: Clip, /) -> str | None:
        reasons = [self._why_not(text) for text in clip.captions]
        return reasons[0] if reasons and all(reasons) else None

    def _why_not(self, text: str) -> str | None:
        if self.max_chars is not None and len(text) > self.max_chars:
            return f"no caption of {self.max_chars} characters or fewer"
        if self.max_words is not None and len(text.split()) > self.max_words:
            return f"no caption of {self.max_words} words or fewer"
        if self.language is not None and not language.is_in(text, self.language):
            return f"no caption in {self.language}"
        return None


@dataclass(frozen=True)
class Told:
    """Leaves out clips that their dataset has found wanting while it read the annotations: ``meta`` says why."""

    def why_not(self, clip: Clip, /) -> str | None:
        reason = clip.meta.get("why_not")
        return None if reason is None else str(reason)


@dataclass(frozen=True)
class HasMedia:
    """Keeps clips whose media file is there. URLs outside of listings are taken for there: asking takes as long as reading."""

    def why_not(self, clip: Clip, /) -> str | None:
        path = clip.media
        if clip.media_bytes is not None or clip.media_offset is not None:
            return None if clip.media_bytes != ABSENT else str(clip.meta.get("no_media", "no media file"))
        return None if path is None or storage.is_url(path) or storage.exists(path) else "no media file"


@dataclass(frozen=True)
class SpanSeconds:
    """Keeps clips whose span is at least ``at_least`` seconds long, where both ends are told."""

    at_least: float

    def why_not(self, clip: Clip, /) -> str | None:
        if clip.end_seconds is None or clip.end_seconds - (clip.start_seconds or 0) >= self.at_least:
            return None
        return f"shorter than {self.at_least:g} s"


@dataclass(frozen=True)
class Seconds:
    """Keeps clips that are at least ``at_least`` seconds long: their spans, where frames were chosen from them."""

    at_least: float

    def why_not(self, frames: Frames, /) -> str | None:
        return f"shorter than {self.at_least:g} s" if _seconds(frames) < self.at_least else None


@dataclass(frozen=True)
class OriginalSize:
    """Keeps clips whose media file has at least ``at_least`` pixels on its shorter side."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        original = frames.about["original"]
        return f"under {self.at_least} pixels" if min(original["height"], original["width"]) < self.at_least else None


@dataclass(frozen=True)
class StandardRange:
    """Keeps clips without a high dynamic range, whose colours would come out pale."""

    def why_not(self, frames: Frames, /) -> str | None:
        return "high dynamic range" if frames.about["original"]["hdr"] else None


@dataclass(frozen=True)
class NumFrames:
    """Keeps clips of at least ``at_least`` frames."""

    at_least: int

    def why_not(self, frames: Frames, /) -> str | None:
        return f"fewer than {self.at_least} frames" if frames.num_frames < self.at_least else None


@dataclass(frozen=True)
class Moving:
    """Keeps clips in which neighbouring frames differ by at least ``min_difference`` grey levels on average."""

    min_difference: float

    def why_not(self, frames: Frames, /) -> str | None:
        import numpy as np

        levels = frames.data.astype(np.int16)
        difference = float(np.abs(np.diff(levels, axis=0)).mean()) if frames.num_frames > 1 else 0.0
        return (
            f"static: frames differ by less than {self.min_difference:g} levels" if difference < self.min_difference else None
        )


@dataclass(frozen=True)
class MostSeconds:
    """Keeps clips that are at most ``at_most`` seconds long: their spans, where frames were chosen from them."""

    at_most: float

    def why_not(self, frames: Frames, /) -> str | None:
        return f"longer than {self.at_most:g} s" if _seconds(frames) > self.at_most else None


def _seconds(frames: Frames) -> float:
    return float(frames.about.get("seconds", frames.num_frames / frames.fps))


@dataclass(frozen=True)
class SpanMostSeconds:
    """Keeps clips whose span is at most ``at_most`` seconds long, where both ends are told."""

    at_most: float

    def why_not(self, clip: Clip, /) -> str | None:
        if clip.end_seconds is None or clip.end_seconds - (clip.start_seconds or 0) <= self.at_most:
            return None
        return f"longer than {self.at_most:g} s"


@dataclass(frozen=True)
class Smooth:
    """Keeps clips whose neighbouring frames match in at least ``min_matches`` features, see ``t2vdata.media.matching``."""

    min_matches: int

    def why_not(self, frames: Frames, /) -> str | None:
        matches = frames.about["matches"]
        return f"not smooth: fewer than {self.min_matches} matches" if matches < self.min_matches else None


@dataclass(frozen=True)
class Listed:
    """Keeps clips whose key, or key without the number of its window, is in a list."""

    keys: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return "not in the clip list" if self.keys.isdisjoint(names(clip)) else None


@dataclass(frozen=True)
class NotListed:
    """Leaves out clips whose key, or key without the number of its window, is in a list."""

    keys: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return None if self.keys.isdisjoint(names(clip)) else "in the exclude list"


@dataclass(frozen=True)
class OneOfLabels:
    """Keeps clips whose label is in a list, as it is written."""

    labels: frozenset[str]

    def why_not(self, clip: Clip, /) -> str | None:
        return None if clip.meta.get("label") in self.labels else "label not in the list"


def names(clip: Clip) -> set[str]:
    """Return what a list may call a clip: its key, and that of the clip which it is a window of."""
    # A file may be called cat-w3 by itself.
    return {clip.key, _WINDOW.sub("", clip.key)} if "window" in clip.meta else {clip.key}
