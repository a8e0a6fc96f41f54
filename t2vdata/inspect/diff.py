"""Compare two builds of one dataset: the clips that only one of them has, and the clips of both.

Sources disappear: videos get deleted, and no two copies of Kinetics are the same. Two labs that compare results can train on
the clips that they share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from t2vdata.errors import RequestError
from t2vdata.format import manifest, tables
from t2vdata.format.dataset import Dataset
from t2vdata.types import without_window


@dataclass(frozen=True)
class SplitDiff:
    """The keys of one split in two builds; each tuple in the order of its build."""

    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    other_bytes: tuple[str, ...] = ()
    """In both, with different bytes, because the file or the options differ."""
    same: tuple[str, ...] = ()
    """In both, byte for byte."""


@dataclass(frozen=True)
class Diff:
    """How two builds differ."""

    a: str
    b: str
    splits: Mapping[str, SplitDiff]
    spec: tuple[str, ...]
    """How their specs differ, one text per value; empty for equal specs."""
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """{key: (split in A, split in B)} of clips that changed splits. In each split they count as present in one build only."""
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """{``a`` or ``b``: {why it lacks clips of the other build: number of clips}}"""
    cut_windows: tuple[bool, bool] = (False, False)
    """Whether each build cut windows from its clips (``--windows``), so that all of its keys end in ``-w0``, ``-w1`` ..."""

    @property
    def is_same(self) -> bool:
        """Whether both have the same clips, byte for byte, in the same splits."""
        return not any(split.only_in_a or split.only_in_b or split.other_bytes for split in self.splits.values())

    def common(self, *, same_bytes: bool = False) -> list[str]:
        """Return the clips of both builds as names for ``--clip-list``.

        A clip that was cut into windows is named once, without a window number, and only if both builds have all the
        windows that either has. With ``same_bytes``, return only clips that are equal byte for byte.
        """
        in_a, in_b = self.cut_windows
        if in_a != in_b:
            # The clip cat-w3 of one build is not window 3 of cat in the other.
            return []
        common: dict[str, list[str]] = {}
        incomplete: set[str] = set()
        for split in self.splits.values():
            for key in [*split.same, *(() if same_bytes else split.other_bytes)]:
                common.setdefault(without_window(key) if in_a else key, []).append(key)
            if in_a:
                others = [*split.only_in_a, *split.only_in_b, *(split.other_bytes if same_bytes else ())]
                incomplete |= {without_window(key) for key in others}
        every_key = {key for split in self.splits.values() for keys in vars(split).values() for key in keys}
        # A list that names the clip cat-w3 would also pick window 3 of cat: name the windows of cat-w3 instead.
        names = (
            [clip] if not in_a or clip not in every_key else keys for clip, keys in common.items() if clip not in incomplete
        )
        return [name for clip_names in names for name in clip_names]

    def as_json(self) -> dict[str, object]:
        """Return everything but ``cut_windows`` as JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "same": self.is_same,
            "spec": list(self.spec),
            "splits": {name: {kind: list(keys) for kind, keys in vars(split).items()} for name, split in self.splits.items()},
            "moved": {key: list(splits) for key, splits in self.moved.items()},
            "reasons": {side: dict(counts) for side, counts in self.reasons.items()},
        }


def diff(a: Dataset, b: Dataset) -> Diff:
    """Compare two builds by their indexes; no shard is read. Raises RequestError for builds of different datasets."""
    if a.manifest.dataset != b.manifest.dataset:
        raise RequestError(
            f"{a.path} is {a.manifest.dataset} and {b.path} is {b.manifest.dataset}; expected two builds of one dataset"
        )
    hashes_a, hashes_b = _hashes(a), _hashes(b)
    splits = {
        split: _split_diff(hashes_a.get(split, {}), hashes_b.get(split, {})) for split in dict.fromkeys([*hashes_a, *hashes_b])
    }
    split_in_a, split_in_b = _split_of_each(hashes_a), _split_of_each(hashes_b)
    moved = {key: (split, split_in_b[key]) for key, split in split_in_a.items() if split_in_b.get(key, split) != split}
    return Diff(
        a.path,
        b.path,
        splits,
        tuple(f"{name}: {value_a} in A, {value_b} in B" for name, value_a, value_b in _spec_differences(a, b)),
        moved,
        {
            "a": _reasons(a, {key for split in splits.values() for key in split.only_in_b} - moved.keys()),
            "b": _reasons(b, {key for split in splits.values() for key in split.only_in_a} - moved.keys()),
        },
        (_cuts_windows(a), _cuts_windows(b)),
    )


def _cuts_windows(dataset: Dataset) -> bool:
    options = dataset.manifest.spec.get("options")
    num_windows = options.get("windows") if isinstance(options, Mapping) else None
    return isinstance(num_windows, int) and num_windows > 1


def _spec_differences(a: Dataset, b: Dataset) -> Iterator[tuple[str, str, str]]:
    # Appended clips show up among the clips.
    spec_a, spec_b = (
        {name: value for name, value in dataset.manifest.spec.items() if name != manifest.APPENDED} for dataset in (a, b)
    )
    return manifest.spec_differences(spec_a, spec_b)


def _hashes(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return {split: {key: SHA-256 of the sample}}."""
    hashes: dict[str, dict[str, str]] = {}
    for split in dataset.splits:
        shards, entries = dataset.manifest.shard_range(split), dataset.manifest.splits[split].shards
        table = tables.read_index(dataset.path, ["key", "sha256"], shards=shards, entries=entries)
        hashes[split] = dict(zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    return hashes


def _split_of_each(hashes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {key: split for split, keys in hashes.items() for key in keys}


def _split_diff(a: Mapping[str, str], b: Mapping[str, str]) -> SplitDiff:
    both = [key for key in a if key in b]
    return SplitDiff(
        tuple(key for key in a if key not in b),
        tuple(key for key in b if key not in a),
        tuple(key for key in both if a[key] != b[key]),
        tuple(key for key in both if a[key] == b[key]),
    )


def _reasons(dataset: Dataset, keys: set[str]) -> dict[str, int]:
    """Return {reason: number of clips} for clips that this build lacks, according to its rejects."""
    tally = dataset.manifest.tally
    rejects = tables.read_rejects(dataset.path, max_rows=tally.num_rejected + tally.num_failed)
    reasons = {reject.key: reject.reason for reject in rejects}
    return dict(Counter(reasons.get(key, "not asked for") for key in keys).most_common())
