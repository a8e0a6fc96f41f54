"""The types that flow from a dataset to its shards: frozen, plain data that validates itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from t2vdata.errors import ClipError, RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEY = re.compile(r"[A-Za-z0-9_-]{1,72}")
_EXTENSION = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*")
_WINDOW = re.compile(r"-w\d+$")


def check_key(key: str) -> None:
    """Raise RequestError unless ``key`` is 1 to 72 of A-Z a-z 0-9 _ -.

    A dot would end the key for WebDataset, and a slash would name a folder in somebody's unpacked tar.
    """
    if not _KEY.fullmatch(key):
        raise RequestError(f"illegal key {key!r}: expected 1 to 72 of the characters A-Z a-z 0-9 _ -")


def window_key(key: str, window: int) -> str:
    """Return the key of window number ``window`` of the clip ``key``: ``cat`` and 3 give ``cat-w3``."""
    return f"{key}-w{window}"


def without_window(key: str) -> str:
    """Return a key without the suffix of ``window_key``: ``cat-w3`` gives ``cat``, ``cat`` stays."""
    return _WINDOW.sub("", key)


@dataclass(frozen=True, slots=True)
class MediaRef:
    """Where the media file of a clip is: a file on disk, behind a URL, or in a tar archive."""

    path: str
    """Path or URL of the file, or of the archive that holds it."""
    name: str | None = None
    """The file's name below the root. Samples publish it instead of ``path``, which depends on the machine."""
    size_bytes: int | None = None
    """Size of the file, where a listing shows it; None is unknown."""
    offset: int | None = None
    """Where the file begins in the archive ``path``, counted in unpacked bytes if that is gzipped; None for a plain file."""
    is_gzipped: bool = False
    """Whether the archive ``path`` is gzipped."""
    is_in_unread_archive: bool = False
    """The file is expected in an archive that has not been read yet, so its offset and size are unknown."""
    absent_reason: str | None = None
    """Why the file does not exist, where a listing shows that; the clip is rejected with it."""
    row: int | None = None
    """Row, counted from 1, of the table that has the file's bytes in it; ``path`` is then only their name."""

    @property
    def is_in_archive(self) -> bool:
        return self.offset is not None or self.is_in_unread_archive


@dataclass(frozen=True, slots=True)
class Clip:
    """A requested sample before its pixels exist: plain data that can be sent to another process."""

    key: str
    captions: tuple[str, ...]
    media: MediaRef | None = None
    """The media file; None for a clip that is rendered."""
    start_seconds: float | None = None
    end_seconds: float | None = None
    """Half-open span of the media file; None is its start or end."""
    group: str = ""
    """The source that splits must not share: a video, or the image of a digit."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Other facts from the annotations, as JSON values. Published in the sample; ``label`` and ``meaning`` in the index too."""
    source: str | None = None
    """Where the annotations list the clip, such as ``train.csv, line 7``. Published, and named in error messages."""
    window: int | None = None
    """Index of the window of the span that this clip shows; None for the whole span. Published."""
    reject_reason: str | None = None
    """Why the annotations rule this clip out; ``filters.AnnotationFilter`` rejects it with that reason."""

    def __post_init__(self) -> None:
        check_key(self.key)
        if isinstance(self.media, str):
            raise RequestError(f"{self.key}: media is a path, {self.media!r}; expected MediaRef({self.media!r})")
        if self.start_seconds is not None and self.end_seconds is not None and self.end_seconds <= self.start_seconds:
            raise RequestError(f"{self.key}: the span ends at {self.end_seconds} s, before its start")

    def cut_window(self, window: int) -> Clip:
        """Return window number ``window`` of this clip, under a key of its own."""
        return replace(self, key=window_key(self.key, window), window=window)

    @property
    def list_names(self) -> frozenset[str]:
        """The names that clip lists may use: the key, and for a window also the key of the clip that it was cut from."""
        # Only a window loses its suffix: a clip's own key may be cat-w3.
        return frozenset((self.key,) if self.window is None else (self.key, without_window(self.key)))


@dataclass(frozen=True, slots=True)
class Frames:
    """The pixels of a clip."""

    data: NDArray[np.uint8]
    """(T, H, W, C) uint8; C is 1 (grey) or 3 (RGB)."""
    fps: float
    """Frames per second."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Facts known only from the opened media file, as JSON values: its size, rate, codec ..."""

    def __post_init__(self) -> None:
        shape = self.data.shape
        if self.data.dtype.str != "|u1" or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
            raise ClipError(f"expected frames of shape (T, H, W, 1 or 3) uint8, got {shape} {self.data.dtype}")
        if not self.fps > 0:
            raise ClipError(f"expected frames at a positive rate, got {self.fps} fps")

    @property
    def num_frames(self) -> int:
        return int(self.data.shape[0])

    @property
    def height(self) -> int:
        return int(self.data.shape[1])

    @property
    def width(self) -> int:
        return int(self.data.shape[2])

    @property
    def channels(self) -> int:
        return int(self.data.shape[3])


@dataclass(frozen=True, slots=True)
class Sample:
    """The files written for a clip: the members of a shard that share a key."""

    key: str
    files: Mapping[str, bytes]
    """{extension without leading dot: content}."""

    def __post_init__(self) -> None:
        check_key(self.key)
        if not self.files:
            raise RequestError(f"{self.key}: a sample needs at least one file")
        for extension in self.files:
            if not _is_extension(extension):
                raise RequestError(f"{self.key}: illegal extension {extension!r}: expected up to 27 characters like 'npy.zst'")


@functools.lru_cache(maxsize=256)
def _is_extension(text: str) -> bool:
    # A USTAR header has 100 bytes for a member's name: a key of 72, a dot, and this.
    return len(text) <= 27 and _EXTENSION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Reject:
    """A requested clip that did not get into the shards, and why."""

    key: str
    split: str
    stage: str
    """The stage that rejected it, or failed: ``clip``, ``render``, ``frames`` or ``encode``."""
    kind: Literal["rejected", "failed"]
    reason: str
    """The filter's reason, or the name of the error."""
    message: str
    """The error's message; for a filter, its reason after the clip's source. What is not valid Unicode in it is escaped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", self.message.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of requested clips by outcome; ``seen`` is the sum."""

    kept: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """{reason: number of clips}"""
    failed: Mapping[str, int] = field(default_factory=dict)
    """{error name: number of clips}"""

    @classmethod
    def of(cls, kept: int, rejects: Iterable[Reject]) -> Tally:
        counts: dict[str, dict[str, int]] = {"rejected": {}, "failed": {}}
        for reject in rejects:
            by_reason = counts[reject.kind]
            by_reason[reject.reason] = by_reason.get(reject.reason, 0) + 1
        return cls(kept, counts["rejected"], counts["failed"])

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected.values())

    @property
    def num_failed(self) -> int:
        return sum(self.failed.values())

    @property
    def seen(self) -> int:
        return self.kept + self.num_rejected + self.num_failed

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.kept + other.kept, _add(self.rejected, other.rejected), _add(self.failed, other.failed))

    def as_json(self) -> dict[str, Any]:
        return {"kept": self.kept, "rejected": dict(self.rejected), "failed": dict(self.failed)}


def _add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {reason: left.get(reason, 0) + right.get(reason, 0) for reason in sorted({*left, *right})}


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Which clips go into a shard."""

    split: str
    index: int
    clips: Sequence[Clip]
    """A list, or a lazy sequence that creates its clips in the worker; it is sent between processes."""
    rejects: tuple[Reject, ...] = ()
    """Clips that the clip filters rejected while this shard was planned."""

    def __str__(self) -> str:
        return f"shard {self.index} of split {self.split}"


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What the clip filters decided about the clips of a shard when it was first planned; a resumed build repeats it.

    Filters may check whether a file exists. If a resumed build checked again, a file that has arrived since would shift all
    later clips, and some of them would appear twice: in a finished shard and in a new one.
    """

    num_clips: int
    """Number of clips that the shard takes from its split, rejected or not."""
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What a worker reports about a finished shard."""

    name: str
    """File name of the shard; it exists when ``num_samples`` is above 0."""
    split: str
    num_samples: int
    num_bytes: int
    sha256: str
    rejects: tuple[Reject, ...]
    rows: Sequence[bytes] = ()
    """Index row of each sample, a line of JSON; empty in the reports that an engine returns."""

    @property
    def tally(self) -> Tally:
        return Tally.of(self.num_samples, self.rejects)
