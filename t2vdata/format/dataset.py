"""A built dataset, opened for reading: its manifest, its index, and each clip with a single read."""

from __future__ import annotations

import functools
import operator
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from t2vdata import storage
from t2vdata.errors import ClipError, DecodeError, RequestError, ShardError, unknown_name
from t2vdata.format import manifest, schema, tables
from t2vdata.format.schema import SchemaError
from t2vdata.media import decode
from t2vdata.types import Frames

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Columns of the index that reading a clip needs.
_COLUMNS = ("key", "shard", "extension", "pixels_offset", "pixels_size", "txt_offset", "txt_size", "json_offset",
            "json_size", "captions", "num_frames", "fps", "height", "width", "channels")  # fmt: skip
# Headers and padding between the members of a sample.
_MAX_GAP_BYTES = 4 * 512


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

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.frames.data.shape))
        return f"<clip {self.key}: {schema.shown(self.captions[0])}, {shape} uint8 at {self.frames.fps:g} fps>"


@dataclass(frozen=True, repr=False)
class Dataset:
    """A built dataset: ``dataset["train"][17]`` is its 18th training clip."""

    path: str
    manifest: manifest.Manifest

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {entry.num_samples:,}" for name, entry in self.manifest.splits.items())
        return f"<dataset {self.manifest.dataset} in {self.path}: {splits} clips>"

    def __getattr__(self, name: str) -> Any:
        # Without calling itself where the fields are not set yet, as in a copy.
        if "manifest" in self.__dict__ and name in self.manifest.splits:
            raise AttributeError(f"a dataset has no attribute {name!r}; that split is dataset[{name!r}]")
        raise AttributeError(f"a dataset has no attribute {name!r}; its splits are dataset[NAME], its clips dataset[NAME][0]")

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
        entries = [entry for _, entry in self.manifest.shards()]
        frame: pd.DataFrame = tables.read_index(self.path, entries=entries).to_pandas()
        return frame

    def __getitem__(self, split: str) -> Split:
        if split not in self.splits:
            raise self._no_split(split)
        entry = self.manifest.splits[split]
        encoding = self.manifest.spec.get("encoding")
        has_checksums = isinstance(encoding, Mapping) and encoding.get("checksum") is True
        return Split(self.path, split, entry.shards, self.manifest.shard_range(split), self.fingerprint, has_checksums)

    def _no_split(self, split: object) -> Exception:
        if isinstance(split, str):
            return unknown_name("split", split, self.splits)
        first = next(iter(self.splits), "train")
        return RequestError(f"dataset[{split!r}]: expected the name of a split, such as dataset[{first!r}][{split!r}]")

    def find(self, key: str) -> Item:
        """Return the clip with this key. Raises UnknownNameError, which suggests the nearest key."""
        for split in self.splits:
            keys = self[split].keys
            if key in keys:
                return self[split][keys[key]]
        raise unknown_name("key", key, [similar for split in self.splits for similar in self[split].similar_keys(key)])


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<split {self.name!r} of {self.path}: {len(self):,} clips>"

    def __len__(self) -> int:
        return self._num_clips

    @functools.cached_property
    def _num_clips(self) -> int:
        return sum(entry.num_samples for entry in self.entries)

    @overload
    def __getitem__(self, number: int | str) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | str | slice) -> Item | list[Item]:
        """Return the clip with this number or key, or a list of clips. Raises IndexError, UnknownNameError for a key."""
        if isinstance(number, slice):
            return [self[index] for index in range(*number.indices(len(self)))]
        if isinstance(number, str):
            if number not in self.keys:
                raise unknown_name("key", number, self.similar_keys(number))
            number = self.keys[number]
        try:
            number = operator.index(number)
        except TypeError:
            raise RequestError(f"clip {number!r} of split {self.name!r}: expected a number or a key") from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"clip {number} of split {self.name!r}, which has {len(self)}")
        row = {name: column[number % len(self)].as_py() for name, column in self._columns.items()}
        return _read(self.path, row)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a split has no attribute {name!r}; its clips are split[0] or split[KEY], their keys split.keys")

    def __iter__(self) -> Iterator[Item]:
        return (self[number] for number in range(len(self)))

    def count_captions(self) -> Counter[str]:
        """Return {caption: count} over all captions of all clips."""
        return tables.count_captions(self.path, self.shards, self.entries)

    @functools.cached_property
    def keys(self) -> dict[str, int]:
        """{key: index of the clip}, in order."""
        keys: list[str] = self._columns["key"].to_pylist()
        return {key: number for number, key in enumerate(keys)}

    def similar_keys(self, key: str) -> list[str]:
        """Return keys that resemble ``key``, or else the first."""
        # Keys end in numbers: candidates share everything but the last two characters. Comparing all keys would take minutes.
        return [candidate for candidate in self.keys if candidate[:-2] == key[:-2]] or list(self.keys)[:1]

    @functools.cached_property
    def _columns(self) -> dict[str, pa.Array]:
        table = tables.read_index(self.path, _COLUMNS, shards=self.shards, entries=self.entries)
        return {name: table[name].combine_chunks() for name in _COLUMNS}


def check_is_split(value: object) -> None:
    """Raise RequestError, which says what to use, for a whole dataset or a path where a split is expected."""
    if isinstance(value, Dataset):
        first = next(iter(value.splits), "train")
        raise RequestError(f"expected a split, got the whole dataset; use dataset[{first!r}]")
    if not isinstance(value, Split):
        raise RequestError(f"expected a split, got {type(value).__name__}; use t2vdata.open_dataset(PATH)[SPLIT]")


def _verify(path: str) -> str:
    """Return the command that tells what is wrong with a dataset."""
    return f"`t2vdata verify {shlex.quote(path)}`"


def _read(path: str, row: Mapping[str, Any]) -> Item:
    """Read all members of a sample at once: they are adjacent in the shard."""
    spans = {role: (row[f"{role}_offset"], row[f"{role}_size"]) for role in ("pixels", "txt", "json")}
    start = min(offset for offset, _ in spans.values())
    end = max(offset + size for offset, size in spans.values())
    if end - start > sum(size for _, size in spans.values()) + _MAX_GAP_BYTES:
        raise ShardError(
            f"{row['shard']}: the members of {row['key']} are not adjacent, according to the index; run {_verify(path)}"
        )
    data = _read_range(path, row["shard"], start, end - start)
    parts = {role: data[offset - start : offset - start + size] for role, (offset, size) in spans.items()}
    try:
        meta = schema.parse(parts["json"])
        schema.mapping(schema.text, schema.anything)(meta, "the content")
    except SchemaError as error:
        raise ShardError(f"{row['shard']}: the JSON of {row['key']} is damaged ({error}); run {_verify(path)}") from error
    max_pixels = row["num_frames"] * row["height"] * row["width"]
    try:
        frames = decode.decode(
            row["extension"], parts["pixels"], fps=row["fps"], channels=row["channels"], max_pixels=max_pixels
        )
    except ClipError as error:
        raise DecodeError(f"{row['shard']}: the pixels of {row['key']}: {error}; run {_verify(path)}") from error
    if (shape := frames.data.shape[:3]) != (expected := (row["num_frames"], row["height"], row["width"])):
        raise DecodeError(
            f"{row['shard']}: the pixels of {row['key']} are {shape} (T, H, W), the index says {expected}; run {_verify(path)}"
        )
    return Item(row["key"], frames, tuple(row["captions"]), meta)


def _read_range(path: str, shard: str, start: int, size: int) -> bytes:
    name = storage.join(path, shard)
    try:
        storage.check_regular(name)
        return storage.read_range(name, start, size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ShardError(
            f"no shard {shard} in {path}: {error}; restore it, and see what else is missing with {_verify(path)}"
        ) from error
