"""Statistics of a dataset, from its manifest and index alone: no clip is opened."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from t2vdata.format import manifest, tables
from t2vdata.text.captions import words
from t2vdata.text.vocabulary import count_words

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("captions", "label", "meaning", "group", "num_frames", "fps", "height", "width")


@dataclass(frozen=True)
class Spread:
    """The distribution of a number over clips or captions."""

    least: float
    median: float
    mean: float
    most: float
    histogram: tuple[tuple[float, float, int], ...]
    """(start, end, count) of each bin; half open, except the last."""


@dataclass(frozen=True)
class Balance:
    """The distribution of clips over labels or meanings."""

    values: int
    """Number of distinct values."""
    fewest: int
    """Clips of the rarest value."""
    most: int
    """Clips of the most frequent value."""
    rarest: tuple[tuple[str, int], ...]
    commonest: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SplitStats:
    """Statistics of one split."""

    clips: int
    shards: int
    bytes: int
    captions: int
    caption_words: Spread
    caption_chars: Spread
    labels: Balance | None
    """None for clips without labels."""
    meanings: Balance | None
    num_frames: dict[str, int]
    """{frames per clip: number of clips}"""
    fps: dict[str, int]
    resolutions: dict[str, int]
    """{width x height: number of clips}"""
    duration_seconds: Spread
    groups: int
    """Number of distinct groups, such as source videos or digit images."""

    @property
    def is_pictures(self) -> bool:
        """Whether every clip has one frame: rates and durations then mean nothing."""
        return set(self.num_frames) == {"1"}


@dataclass(frozen=True)
class Stats:
    """Statistics of a dataset."""

    dataset: str
    path: str
    fingerprint: str
    splits: dict[str, SplitStats]
    vocabulary: int
    """Number of distinct words in all captions."""
    commonest_words: tuple[tuple[str, int], ...]
    rarest_words: tuple[tuple[str, int], ...]
    shared_groups: dict[str, int]
    """{"train and val": number of groups in both}; empty if no group is in two splits."""
    kept: int
    rejected: dict[str, int]
    failed: dict[str, int]
    licence: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compute(path: str) -> Stats:
    """Compute the statistics of the dataset at ``path``. Raises NotADatasetError or DataError if it cannot be read."""
    dataset = manifest.read(path)
    by_split = {
        split: tables.read_index(path, _COLUMNS, shards=dataset.shard_range(split), entries=entry.shards)
        for split, entry in dataset.splits.items()
    }
    counts = sum((_words(rows) for rows in by_split.values()), Counter[str]())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Stats(
        dataset=dataset.dataset,
        path=path,
        fingerprint=dataset.fingerprint,
        splits={name: _split_stats(dataset.splits[name], rows) for name, rows in by_split.items() if len(rows)},
        vocabulary=len(counts),
        commonest_words=tuple(ranked[:10]),
        rarest_words=tuple(sorted(counts.items(), key=lambda item: (item[1], item[0]))[:10]),
        shared_groups=_shared_groups(by_split),
        kept=dataset.tally.kept,
        rejected=dict(dataset.tally.rejected),
        failed=dict(dataset.tally.failed),
        licence=dataset.licence,
    )


def _split_stats(entry: manifest.SplitEntry, rows: pa.Table) -> SplitStats:
    import pyarrow.compute as pc

    captions = tables.count_values(pc.list_flatten(rows["captions"]))
    durations = pc.divide(pc.cast(rows["num_frames"], "float64"), rows["fps"])
    sizes = Counter(zip(rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True))
    return SplitStats(
        clips=len(rows),
        shards=len(entry.shards),
        bytes=sum(shard.num_bytes for shard in entry.shards),
        captions=sum(captions.values()),
        caption_words=_spread({text: len(words(text)) for text in captions}, captions),
        caption_chars=_spread({text: len(text) for text in captions}, captions),
        labels=_balance(tables.count_values(rows["label"])),
        meanings=_balance(tables.count_values(rows["meaning"])),
        num_frames={str(value): count for value, count in sorted(tables.count_values(rows["num_frames"]).items())},
        fps={f"{value:g}": count for value, count in sorted(tables.count_values(rows["fps"]).items())},
        resolutions={f"{width}x{height}": count for (width, height), count in sizes.most_common()},
        duration_seconds=_spread_of(tables.count_values(durations)),
        groups=len(tables.count_values(rows["group"]).keys() - {""}),
    )


def _words(table: pa.Table) -> Counter[str]:
    import pyarrow.compute as pc

    return count_words(tables.count_values(pc.list_flatten(table["captions"])), words)


def _balance(counts: dict[str, int]) -> Balance | None:
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Balance(len(counts), ranked[-1][1], ranked[0][1], tuple(ranked[::-1][:5]), tuple(ranked[:5]))


def _spread(values: dict[str, int], times: dict[str, int]) -> Spread:
    counts = Counter[float]()
    for text, value in values.items():
        counts[value] += times[text]
    return _spread_of(counts)


def _spread_of(counts: dict[float, int], num_bins: int = 12) -> Spread:
    ordered = sorted(counts.items())
    total = sum(count for _, count in ordered)
    least, most = float(ordered[0][0]), float(ordered[-1][0])
    return Spread(
        least=least,
        median=_median(ordered, total),
        mean=sum(value * count for value, count in ordered) / total,
        most=most,
        histogram=tuple(_histogram(ordered, least, most, num_bins)),
    )


def _median(ordered: Sequence[tuple[float, int]], total: int) -> float:
    def at(index: int) -> float:
        seen = 0
        for value, count in ordered:
            seen += count
            if seen > index:
                return float(value)
        raise AssertionError("an index beyond the total")

    return (at((total - 1) // 2) + at(total // 2)) / 2


def _histogram(
    ordered: Iterable[tuple[float, int]], least: float, most: float, num_bins: int
) -> list[tuple[float, float, int]]:
    """Return bins of equal width; integers get bins of integer width, so that each covers equally many values."""
    ordered = list(ordered)
    if most == least:
        return [(least, most, sum(count for _, count in ordered))]
    are_integers = all(float(value).is_integer() for value, _ in ordered)
    width = max(1, -(-(most - least + 1) // num_bins)) if are_integers else (most - least) / num_bins
    bins = int(-(-(most - least + (1 if are_integers else 0)) // width))
    counts = [0] * bins
    for value, count in ordered:
        counts[min(int((value - least) // width), bins - 1)] += count
    return [(least + index * width, least + (index + 1) * width, count) for index, count in enumerate(counts)]


def _shared_groups(by_split: dict[str, pa.Table]) -> dict[str, int]:
    import pyarrow.compute as pc

    groups = {name: set(pc.unique(rows["group"]).to_pylist()) - {None, ""} for name, rows in by_split.items()}
    both = {f"{first} and {second}": len(groups[first] & groups[second]) for first, second in itertools.combinations(groups, 2)}
    return {names: count for names, count in both.items() if count}
