"""Clips that show the same, within a dataset's splits and across them, by the perceptual hashes in its index.

A source may be in a dataset under two names: a film uploaded twice, a picture cut anew. Groups do not know that; pixels do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from t2vdata.errors import RequestError
from t2vdata.format import manifest, tables
from t2vdata.media import phash


@dataclass(frozen=True)
class Pair:
    """Two clips of different groups that show the same."""

    one: str
    """Key."""
    other: str
    splits: tuple[str, str]
    """Of the one, and of the other."""
    bits: int
    """In which their hashes differ."""


@dataclass(frozen=True)
class Duplicates:
    """The near-duplicates of a dataset."""

    path: str
    max_distance: int
    """Bits by which near-duplicates differ at most, of 192."""
    compared: int
    """Clips with a hash; one without anything to see has none."""
    pairs: tuple[Pair, ...]
    """By how near they are."""
    of_one_group: int
    """Pairs of clips of one group, such as windows of one video: they are in one split, and not in ``pairs``."""
    to_leave_out: tuple[str, ...]
    """Keys of all but one clip of each heap of near-duplicates: what stays is in test before val, and in train last."""

    @property
    def counts(self) -> dict[str, int]:
        """Return {"train and val" or "within train": pairs}."""
        names = (
            f"within {pair.splits[0]}" if pair.splits[0] == pair.splits[1] else " and ".join(pair.splits) for pair in self.pairs
        )
        return dict(sorted(Counter(names).items()))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "counts": self.counts}


def find(path: str, *, max_distance: int = phash.MAX_DISTANCE) -> Duplicates:
    """Compare all clips of a dataset. Raises RequestError when its index has no hashes."""
    whole = manifest.read(path)
    rows = [_rows(whole, path, split) for split in whole.splits]
    clips = [clip for some in rows for clip in some if clip.phash is not None]
    if not clips:
        raise RequestError(
            f"{path}: its index has no perceptual hashes; datasets of media files have them, built by this version of t2vdata"
        )
    pairs, of_one_group = list[Pair](), 0
    heaps = _Heaps(len(clips))
    for first, second, bits in phash.near([clip.phash or "" for clip in clips], max_distance=max_distance):
        one, other = clips[first], clips[second]
        if one.group == other.group:
            of_one_group += 1
            continue
        heaps.join(first, second)
        pairs.append(Pair(one.key, other.key, (one.split, other.split), bits))
    return Duplicates(
        path,
        max_distance,
        len(clips),
        tuple(sorted(pairs, key=lambda pair: (pair.bits, pair.one, pair.other))),
        of_one_group,
        tuple(_to_leave_out(clips, heaps)),
    )


@dataclass(frozen=True, slots=True)
class _Clip:
    key: str
    split: str
    group: str
    phash: str | None


def _rows(whole: manifest.Manifest, path: str, split: str) -> list[_Clip]:
    columns = ("key", "group", "phash")
    there = tables.index_columns(path)
    if "phash" not in there:
        return []
    table = tables.read_index(path, columns, shards=whole.shard_range(split))
    told = (table[name].to_pylist() for name in columns)
    return [_Clip(key, split, group, phash) for key, group, phash in zip(*told, strict=True)]


def _to_leave_out(clips: Sequence[_Clip], heaps: _Heaps) -> list[str]:
    # Test and other held-out splits come after train in a dataset; what is last is rarest.
    place = {split: number for number, split in enumerate(dict.fromkeys(clip.split for clip in clips))}
    kept: dict[int, int] = {}
    for number, clip in enumerate(clips):
        root = heaps.root(number)
        best = kept.get(root)
        if best is None or place[clip.split] > place[clips[best].split]:
            kept[root] = number
    return [clip.key for number, clip in enumerate(clips) if kept[heaps.root(number)] != number]


class _Heaps:
    """Which clips are in one heap: joined by pairs, however far the ends are from each other."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = number = self._parent[self._parent[number]]
        return number

    def join(self, one: int, other: int) -> None:
        self._parent[self.root(other)] = self.root(one)
