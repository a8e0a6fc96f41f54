"""Hold many clips in little memory: each is a line of JSON that becomes a `Clip` when it is read."""

from __future__ import annotations

import array
import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

import orjson

from t2vdata.types import Clip, MediaRef

# Begins a line that Python's json wrote, since orjson refused its values.
_OTHER_JSON = b" "


class PackedClips(Sequence[Clip]):
    """Clips in order, each repeated once per window with the window's number and key."""

    def __init__(self, num_windows: int = 1) -> None:
        self._num_windows = num_windows
        self._lines = bytearray()
        self._ends = array.array("Q", [0])
        self._last: list[Clip] = []

    def add(self, clip: Clip) -> None:
        """Append a clip that has not been cut into windows; its meta must be JSON values."""
        self._lines += _packed(clip)
        self._ends.append(len(self._lines))

    def sort(self, positions: Sequence[int]) -> None:
        """Sort the added clips by ``positions``, one per clip; equal positions keep their order."""
        ordered, ends = bytearray(), array.array("Q", [0])
        for index in sorted(range(len(positions)), key=positions.__getitem__):
            ordered += memoryview(self._lines)[self._ends[index] : self._ends[index + 1]]
            ends.append(len(ordered))
        self._lines, self._ends = ordered, ends

    def add_last(self, clips: Sequence[Clip]) -> None:
        """Append clips that stay after all others and have no windows."""
        self._last += clips

    def without_windows(self) -> Iterator[Clip]:
        """Yield the added clips, before windows are cut from them."""
        return (self._clip(index) for index in range(len(self._ends) - 1))

    def __len__(self) -> int:
        return (len(self._ends) - 1) * self._num_windows + len(self._last)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> list[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | list[Clip]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        clip_index, window = divmod(index % len(self), self._num_windows)
        if clip_index >= len(self._ends) - 1:
            return self._last[index % len(self) - len(self)]
        clip = self._clip(clip_index)
        return clip if self._num_windows == 1 else clip.cut_window(window)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def _clip(self, index: int) -> Clip:
        return _unpacked(memoryview(self._lines)[self._ends[index] : self._ends[index + 1]])


def _packed(clip: Clip) -> bytes:
    # Values without field names, which would take up most of a line; the media fields are last, because many are often None.
    media = None if clip.media is None else _without_trailing_defaults(clip.media)
    values = (clip.key, clip.captions, clip.group, clip.meta, clip.source, clip.start_seconds, clip.end_seconds)
    row = [*values, clip.window, clip.reject_reason, media]
    try:
        return orjson.dumps(row)
    except TypeError:
        # A path that is not UTF-8, an integer beyond 64 bits: ``filters.Storable`` decides about them later.
        return _OTHER_JSON + json.dumps(row).encode()


def _unpacked(line: memoryview) -> Clip:
    # orjson would read integers beyond 64 bits as floats.
    row = orjson.loads(line) if line[:1] != _OTHER_JSON else json.loads(bytes(line))
    key, captions, group, meta, source, start, end, window, reason, media = row
    ref = None if media is None else MediaRef(*media)
    return Clip(key, tuple(captions), ref, start, end, group, meta, source, window, reason)


_DEFAULTS = (None, None, None, False, False, None, None)


def _without_trailing_defaults(media: MediaRef) -> list[Any]:
    values: list[Any] = [media.path, media.name, media.size_bytes, media.offset]
    values += [media.is_gzipped, media.is_in_unread_archive, media.absent_reason, media.row]
    while len(values) > 1 and values[-1] is _DEFAULTS[len(values) - 2]:
        values.pop()
    return values
