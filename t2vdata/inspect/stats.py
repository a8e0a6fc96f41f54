"""What is in a dataset, counted from its manifest and index alone: no clip is opened."""

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
    """How a number is spread over clips or captions."""

    least: float
    median: float
    mean: float
    most: float
    histogram: tuple[tuple[float, float, int], ...]
    """(from, to, count): half open, but for the last."""


@dataclass(frozen=True)
class Balance:
    """How evenly clips fall on labels or meanings."""

    values: int
    """How many different ones there are."""
    fewest: int
    """Clips of the rarest."""
    most: int
    """Clips of the most frequent."""
    rarest: tuple[tuple[str, int], ...]
    commonest: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SplitStats:
    """What is in one split."""

    clips: int
    shards: int
    bytes: int
    captions: int
    caption_words: Spread
    caption_chars: Spread
    labels: Balance | None
    """None where the clips have no label."""
    meanings: Balance | None
    num_frames: dict[str, int]
    """{frames in a clip: clips}"""
    fps: dict[str, int]
    resolutions: dict[str, int]
    """{width x height: clips}"""
    duration_seconds: Spread
    groups: int
    """Different source videos, digit images and the like."""


@dataclass(frozen=True)
class Stats:
    """What is in a dataset."""

    dataset: str
    path: str
    fingerprint: str
    splits: dict[str, SplitStats]
    vocabulary: int
    """Different words in all captions."""
    commonest_words: tuple[tuple[str, int], ...]
    rarest_words: tuple[tuple[str, int], ...]
    shared_groups: dict[str, int]
    """{"train and val": groups that are in both}; empty when no group is in two splits."""
    kept: int
    rejected: dict[str, int]
    failed: dict[str, int]
    licence: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compute(path: str) -> Stats:
    """Count what is in the dataset at ``path``. Raises NotADatasetError or DataError when it cannot be read."""
    whole = manifest.read(path)
    by_split = {split: tables.read_index(path, _COLUMNS, shards=whole.shard_range(split)) for split in whole.splits}
    counts = sum((_words(rows) for rows in by_split.values()), Counter[str]())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Stats(
        dataset=whole.dataset,
        path=path,
        fingerprint=whole.fingerprint,
        splits={name: _split_stats(whole.splits[name], rows) for name, rows in by_split.items() if len(rows)},
        vocabulary=len(counts),
        commonest_words=tuple(ranked[:10]),
        rarest_words=tuple(sorted(counts.items(), key=lambda item: (item[1], item[0]))[:10]),
        shared_groups=_shared_groups(by_split),
        kept=whole.tally.kept,
        rejected=dict(whole.tally.rejected),
        failed=dict(whole.tally.failed),
        licence=whole.licence,
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
    def at(place: int) -> float:
        seen = 0
        for value, count in ordered:
            seen += count
            if seen > place:
                return float(value)
        raise AssertionError("a place beyond the total")

    return (at((total - 1) // 2) + at(total // 2)) / 2


def _histogram(
    ordered: Iterable[tuple[float, int]], least: float, most: float, num_bins: int
) -> list[tuple[float, float, int]]:
    """Return bins of equal width; whole numbers get bins of whole width, so that none is favoured."""
    ordered = list(ordered)
    if most == least:
        return [(least, most, sum(count for _, count in ordered))]
    whole = all(float(value).is_integer() for value, _ in ordered)
    width = max(1, -(-(most - least + 1) // num_bins)) if whole else (most - least) / num_bins
    bins = int(-(-(most - least + (1 if whole else 0)) // width))
    counts = [0] * bins
    for value, count in ordered:
        counts[min(int((value - least) // width), bins - 1)] += count
    return [(least + place * width, least + (place + 1) * width, count) for place, count in enumerate(counts)]


def _shared_groups(by_split: dict[str, pa.Table]) -> dict[str, int]:
    import pyarrow.compute as pc

    groups = {name: set(pc.unique(rows["group"]).to_pylist()) - {None, ""} for name, rows in by_split.items()}
    both = {f"{one} and {other}": len(groups[one] & groups[other]) for one, other in itertools.combinations(groups, 2)}
    return {names: count for names, count in both.items() if count}
