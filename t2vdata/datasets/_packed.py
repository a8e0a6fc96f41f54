"""Many clips in little memory: each is a line of JSON until it is asked for."""

from __future__ import annotations

import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import overload

import orjson

from t2vdata.types import Clip


class PackedClips(Sequence[Clip]):
    """Clips in order, each as often as there are windows, with the number of its window in key and meta."""

    def __init__(self, num_windows: int = 1) -> None:
        self._num_windows = num_windows
        self._lines = bytearray()
        self._ends = array.array("Q", [0])
        self._last: list[Clip] = []

    def add(self, clip: Clip) -> None:
        """Take a clip; its meta has to be JSON values."""
        self._lines += orjson.dumps(clip)
        self._ends.append(len(self._lines))

    def sort(self, places: Sequence[int]) -> None:
        """Put the clips that were added into the order of their places; those of one place stay as they are."""
        ordered, ends = bytearray(), array.array("Q", [0])
        for number in sorted(range(len(places)), key=places.__getitem__):
            ordered += memoryview(self._lines)[self._ends[number] : self._ends[number + 1]]
            ends.append(len(ordered))
        self._lines, self._ends = ordered, ends

    def add_last(self, clips: Sequence[Clip]) -> None:
        """Take clips that stay behind all others and have no windows."""
        self._last += clips

    def whole(self) -> Iterator[Clip]:
        """Yield the clips that were added, before their windows are cut."""
        return (self._clip(number) for number in range(len(self._ends) - 1))

    def __len__(self) -> int:
        return (len(self._ends) - 1) * self._num_windows + len(self._last)

    @overload
    def __getitem__(self, wanted: int) -> Clip: ...
    @overload
    def __getitem__(self, wanted: slice) -> list[Clip]: ...
    def __getitem__(self, wanted: int | slice) -> Clip | list[Clip]:
        if isinstance(wanted, slice):
            return [self[one] for one in range(*wanted.indices(len(self)))]
        if not -len(self) <= wanted < len(self):
            raise IndexError(f"clip {wanted} of {len(self)}")
        number, window = divmod(wanted % len(self), self._num_windows)
        if number >= len(self._ends) - 1:
            return self._last[wanted % len(self) - len(self)]
        clip = self._clip(number)
        if self._num_windows == 1:
            return clip
        return replace(clip, key=f"{clip.key}-w{window}", meta={**clip.meta, "window": window})

    def __iter__(self) -> Iterator[Clip]:
        return (self[number] for number in range(len(self)))

    def _clip(self, number: int) -> Clip:
        told = orjson.loads(memoryview(self._lines)[self._ends[number] : self._ends[number + 1]])
        return Clip(**{**told, "captions": tuple(told["captions"])})
