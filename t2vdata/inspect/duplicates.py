"""Near-duplicate clips within and across the splits of a dataset, by the perceptual hashes in its index.

A source can be in a dataset under two names: a video uploaded twice, a picture cropped again. Groups do not reveal this; hashes
of the pixels do.
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
    """Two near-duplicate clips of different groups."""

    keys: tuple[str, str]
    splits: tuple[str, str]
    bits: int
    """Number of bits in which their hashes differ."""

    def as_json(self) -> dict[str, Any]:
        return {"one": self.keys[0], "other": self.keys[1], "splits": self.splits, "bits": self.bits}


@dataclass(frozen=True)
class Duplicates:
    """The near-duplicates of a dataset."""

    path: str
    max_distance: int
    """Maximum number of bits, of 192, in which near-duplicates differ."""
    compared: int
    """Number of clips with a hash; a clip without visible content has none."""
    pairs: tuple[Pair, ...]
    """The most similar first."""
    of_one_group: int
    """Number of pairs within a group, such as windows of one video: they share a split and are not in ``pairs``."""
    to_leave_out: tuple[str, ...]
    """Keys of every near-duplicate except one per cluster: the kept clip is from test if possible, else val, else train."""

    @property
    def counts(self) -> dict[str, int]:
        """Return {"train and val" or "within train": number of pairs}."""
        names = (
            f"within {pair.splits[0]}" if pair.splits[0] == pair.splits[1] else " and ".join(pair.splits) for pair in self.pairs
        )
        return dict(sorted(Counter(names).items()))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "pairs": [pair.as_json() for pair in self.pairs], "counts": self.counts}


def find(path: str, *, max_distance: int = phash.MAX_DISTANCE) -> Duplicates:
    """Find the near-duplicates among all clips of a dataset. Raises RequestError if its index has no hashes."""
    dataset = manifest.read(path)
    clips = [clip for split in dataset.splits for clip in _read_clips(dataset, path, split) if clip.phash is not None]
    if not clips:
        raise RequestError(
            f"{path}: its index has no perceptual hashes; expected a dataset of media files, built by this version of t2vdata"
        )
    pairs, of_one_group = list[Pair](), 0
    clusters = _Clusters(len(clips))
    for first, second, bits in phash.near([clip.phash or "" for clip in clips], max_distance=max_distance):
        a, b = clips[first], clips[second]
        if a.group == b.group:
            of_one_group += 1
            continue
        clusters.join(first, second)
        pairs.append(Pair((a.key, b.key), (a.split, b.split), bits))
    return Duplicates(
        path,
        max_distance,
        len(clips),
        tuple(sorted(pairs, key=lambda pair: (pair.bits, pair.keys))),
        of_one_group,
        tuple(_to_leave_out(clips, clusters)),
    )


@dataclass(frozen=True, slots=True)
class _Clip:
    key: str
    split: str
    group: str
    phash: str | None


def _read_clips(dataset: manifest.Manifest, path: str, split: str) -> list[_Clip]:
    columns = ("key", "group", "phash")
    if "phash" not in tables.index_columns(path):
        return []
    entries = dataset.splits[split].shards
    table = tables.read_index(path, columns, shards=dataset.shard_range(split), entries=entries)
    values = (table[name].to_pylist() for name in columns)
    return [_Clip(key, split, group, phash) for key, group, phash in zip(*values, strict=True)]


def _to_leave_out(clips: Sequence[_Clip], clusters: _Clusters) -> list[str]:
    # Held-out splits come after train, and are smaller: keep the clip of the last split.
    rank = {split: index for index, split in enumerate(dict.fromkeys(clip.split for clip in clips))}
    kept: dict[int, int] = {}
    for index, clip in enumerate(clips):
        root = clusters.root(index)
        best = kept.get(root)
        if best is None or rank[clip.split] > rank[clips[best].split]:
            kept[root] = index
    return [clip.key for index, clip in enumerate(clips) if kept[clusters.root(index)] != index]


class _Clusters:
    """Connected components of clips that are joined by pairs (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = index = self._parent[self._parent[index]]
        return index

    def join(self, first: int, second: int) -> None:
        self._parent[self.root(second)] = self.root(first)
