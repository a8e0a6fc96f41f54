"""A built dataset, opened for reading: its manifest, its index, and each clip with a single read."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from t2vdata import storage
from t2vdata.errors import ShardError, unknown_name
from t2vdata.format import manifest, tables
from t2vdata.media import decode
from t2vdata.types import Frames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Columns of the index that reading a clip needs.
_COLUMNS = ("key", "shard", "extension", "pixels_offset", "pixels_size", "txt_offset", "txt_size", "json_offset",
            "json_size", "captions", "fps", "channels")  # fmt: skip


def open_dataset(path: str | os.PathLike[str]) -> Dataset:
    """Open a built dataset in a local folder or at a URL. Raises NotADatasetError if there is none.

    A later change of the working directory does no harm: ``Dataset.path`` is absolute.
    """
    folder = os.fspath(path)
    return Dataset(storage.absolute(folder), manifest.read(folder))


@dataclass(frozen=True)
class Item:
    """One clip of a dataset, decoded."""

    key: str
    frames: Frames
    """``frames.data`` is (T, H, W, C) uint8, ``frames.fps`` the frame rate."""
    captions: tuple[str, ...]
    meta: Mapping[str, Any]
    """Everything in the sample's JSON."""


@dataclass(frozen=True)
class Dataset:
    """A built dataset: ``dataset["train"][17]`` is its 18th training clip."""

    path: str
    manifest: manifest.Manifest

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.manifest.splits)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that affects the bytes."""
        return self.manifest.fingerprint

    @property
    def vocabulary_path(self) -> str:
        """Path or URL of the vocabulary that the build made from the training captions."""
        return storage.join(self.path, manifest.VOCABULARY)

    @functools.cached_property
    def index(self) -> pd.DataFrame:
        """The whole index, one row per clip; read on first use."""
        frame: pd.DataFrame = tables.read_index(self.path).to_pandas()
        return frame

    def __getitem__(self, split: str) -> Split:
        if split not in self.manifest.splits:
            raise unknown_name("split", split, self.splits)
        entry = self.manifest.splits[split]
        encoding = self.manifest.spec.get("encoding")
        has_checksums = isinstance(encoding, Mapping) and encoding.get("checksum") is True
        return Split(self.path, split, entry.shards, self.manifest.shard_range(split), self.fingerprint, has_checksums)

    def find(self, key: str) -> Item:
        """Return the clip with this key. Raises UnknownNameError, which suggests the nearest key."""
        for split in self.splits:
            keys = self[split].keys
            if key in keys:
                return self[split][keys[key]]
        # Keys end in numbers: candidates share everything but the last two characters. Comparing all keys would take minutes.
        similar = [candidate for split in self.splits for candidate in self[split].keys if candidate[:-2] == key[:-2]]
        raise unknown_name("key", key, similar or [next(iter(self[split].keys)) for split in self.splits])


@dataclass(frozen=True)
class Split(Sequence[Item]):
    """The clips of one split, each read from its shard when indexed."""

    path: str
    name: str
    entries: tuple[manifest.ShardEntry, ...] = field(repr=False)
    """The manifest's entries of its shards."""
    shards: range
    """Indices of its shards among all shards of the dataset."""
    fingerprint: str
    """Fingerprint of the dataset."""
    has_checksums: bool = False
    """Whether its pixels carry a checksum that decoding verifies."""

    def __len__(self) -> int:
        return self._num_clips

    @functools.cached_property
    def _num_clips(self) -> int:
        return sum(entry.num_samples for entry in self.entries)

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        if isinstance(number, slice):
            return [self[index] for index in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"clip {number} of split {self.name!r}, which has {len(self)}")
        row = {name: column[number % len(self)].as_py() for name, column in self._columns.items()}
        return _read(self.path, row)

    def __iter__(self) -> Iterator[Item]:
        return (self[number] for number in range(len(self)))

    def count_captions(self) -> Counter[str]:
        """Return {caption: count} over all captions of all clips."""
        return tables.count_captions(self.path, self.shards)

    @functools.cached_property
    def keys(self) -> dict[str, int]:
        """{key: index of the clip}, in order."""
        keys: list[str] = self._columns["key"].to_pylist()
        return {key: number for number, key in enumerate(keys)}

    @functools.cached_property
    def _columns(self) -> dict[str, pa.Array]:
        table = tables.read_index(self.path, _COLUMNS, shards=self.shards)
        return {name: table[name].combine_chunks() for name in _COLUMNS}


def _read(path: str, row: Mapping[str, Any]) -> Item:
    """Read all members of a sample at once: they are adjacent in the shard."""
    spans = {role: (row[f"{role}_offset"], row[f"{role}_size"]) for role in ("pixels", "txt", "json")}
    start = min(offset for offset, _ in spans.values())
    end = max(offset + size for offset, size in spans.values())
    try:
        data = storage.read_range(storage.join(path, row["shard"]), start, end - start)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardError(
            f"no shard {row['shard']} in {path}: {error}; restore it, and see what else is missing with `t2vdata verify {path}`"
        ) from error
    parts = {role: data[offset - start : offset - start + size] for role, (offset, size) in spans.items()}
    try:
        meta = json.loads(parts["json"])
    except ValueError as error:
        raise ShardError(
            f"{row['shard']}: the JSON of {row['key']} is damaged ({error}); run `t2vdata verify {path}`"
        ) from error
    frames = decode.decode(row["extension"], parts["pixels"], fps=row["fps"], channels=row["channels"])
    return Item(row["key"], frames, tuple(row["captions"]), meta)
