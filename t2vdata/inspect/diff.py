"""Two builds of one dataset, beside each other: what is only in one of them, and what both have.

Sources rot: videos vanish, and no two copies of Kinetics are the same. Two labs that compare results can train on what both
have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from t2vdata.errors import RequestError
from t2vdata.format import manifest, tables
from t2vdata.format.dataset import Dataset

# The end of a key that numbers the window of a clip; lists name the clip.
_WINDOW = re.compile(r"-w\d+$")


@dataclass(frozen=True)
class SplitDiff:
    """The clips of one split in two builds, by key; each in the order of its build."""

    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    other_bytes: tuple[str, ...] = ()
    """In both, with other bytes: made of another file, or with other options."""
    same: tuple[str, ...] = ()
    """In both, byte for byte."""


@dataclass(frozen=True)
class Diff:
    """How two builds differ."""

    a: str
    b: str
    splits: Mapping[str, SplitDiff]
    spec: tuple[str, ...]
    """How their specs differ, one text for each value; none when they were asked for the same."""
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """{key: its split in A, and in B}, of clips that are in another split of the other: they count as only there."""
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """{``a`` or ``b``: {why the clips that only the other has are not there: clips}}"""

    @property
    def is_same(self) -> bool:
        """Whether both have the same clips, byte for byte, in the same splits."""
        return not any(one.only_in_a or one.only_in_b or one.other_bytes for one in self.splits.values())

    def common(self, *, same_bytes: bool = False) -> list[str]:
        """Return the clips of both, as ``--clip-list`` takes them: of windows the clip, where both have all the same ones.

        With ``same_bytes`` only those that are equal byte for byte.
        """
        kept: dict[str, None] = {}
        lost: set[str] = set()
        for one in self.splits.values():
            both = [*one.same, *(() if same_bytes else one.other_bytes)]
            kept |= dict.fromkeys(_WINDOW.sub("", key) for key in both)
            others = [*one.only_in_a, *one.only_in_b, *(one.other_bytes if same_bytes else ())]
            lost |= {_WINDOW.sub("", key) for key in others if _WINDOW.search(key)}
        return [key for key in kept if key not in lost]

    def as_json(self) -> dict[str, object]:
        """Return all of it as JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "same": self.is_same,
            "spec": list(self.spec),
            "splits": {name: {what: list(keys) for what, keys in vars(one).items()} for name, one in self.splits.items()},
            "moved": {key: list(splits) for key, splits in self.moved.items()},
            "reasons": {side: dict(counts) for side, counts in self.reasons.items()},
        }


def diff(a: Dataset, b: Dataset) -> Diff:
    """Compare two builds by their indexes; no shard is read. Raises RequestError when they are of two datasets."""
    if a.manifest.dataset != b.manifest.dataset:
        raise RequestError(
            f"{a.path} is {a.manifest.dataset} and {b.path} is {b.manifest.dataset}; expected two builds of one dataset"
        )
    hashes = {name: _hashes(dataset) for name, dataset in (("a", a), ("b", b))}
    splits = {
        split: _split_diff(hashes["a"].get(split, {}), hashes["b"].get(split, {}))
        for split in dict.fromkeys([*hashes["a"], *hashes["b"]])
    }
    homes = {side: {key: split for split, keys in of.items() for key in keys} for side, of in hashes.items()}
    moved = {key: (split, homes["b"][key]) for key, split in homes["a"].items() if homes["b"].get(key, split) != split}
    return Diff(
        a.path,
        b.path,
        splits,
        tuple(f"{name}: {one} in A, {other} in B" for name, one, other in _spec(a, b)),
        moved,
        {
            "a": _reasons(a, {key for one in splits.values() for key in one.only_in_b} - moved.keys()),
            "b": _reasons(b, {key for one in splits.values() for key in one.only_in_a} - moved.keys()),
        },
    )


def _spec(a: Dataset, b: Dataset) -> Iterator[tuple[str, str, str]]:
    # Which clips were appended is seen in the clips.
    in_a, in_b = ({name: value for name, value in one.manifest.spec.items() if name != manifest.APPENDED} for one in (a, b))
    return manifest.spec_differences(in_a, in_b)


def _hashes(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return {split: {key: SHA-256 of the sample}}."""
    found: dict[str, dict[str, str]] = {}
    for split in dataset.splits:
        table = tables.read_index(dataset.path, ["key", "sha256"], shards=dataset.manifest.shard_range(split))
        found[split] = dict(zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    return found


def _split_diff(a: Mapping[str, str], b: Mapping[str, str]) -> SplitDiff:
    both = [key for key in a if key in b]
    return SplitDiff(
        tuple(key for key in a if key not in b),
        tuple(key for key in b if key not in a),
        tuple(key for key in both if a[key] != b[key]),
        tuple(key for key in both if a[key] == b[key]),
    )


def _reasons(dataset: Dataset, keys: set[str]) -> dict[str, int]:
    """Return {why: how many} of clips that this build does not have, by its rejects."""
    why = {reject.key: reject.reason for reject in tables.read_rejects(dataset.path)}
    return dict(Counter(why.get(key, "not asked for") for key in keys).most_common())
