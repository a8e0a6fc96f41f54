"""The manifest of a dataset folder, ``manifest.json``: its spec, its splits, and the hash of every file.

A build writes the manifest last; a folder without one is not a dataset. The manifest holds the hashes of itself, the two tables
and every shard. docs/format.md describes it for other readers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from t2vdata import storage
from t2vdata.errors import NotADatasetError, StorageError
from t2vdata.storage import Folder
from t2vdata.types import Tally

FORMAT = "t2vdata/1"
# Where an unfinished build keeps its state.
BUILD_FOLDER = ".t2vdata-build"
# The file in it that says that the build stopped because too many clips failed.
STOPPED = "too-many-failures"
# Key in the spec: {shard: SHA-256} of the shards that --retry-failed appended. They make it a different dataset.
APPENDED = "appended"
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"


@dataclass(frozen=True)
class FileEntry:
    """A file of the dataset other than a shard, with its size and hash."""

    name: str
    num_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FileEntry:
        return cls(**_as_fields(entry))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.num_bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class ShardEntry:
    """A shard with its size and hash."""

    name: str
    num_samples: int
    num_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ShardEntry:
        return cls(**_as_fields(entry))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "samples": self.num_samples, "bytes": self.num_bytes, "sha256": self.sha256}


def _as_fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of manifest.json under the names of the dataclass fields."""
    names = {"samples": "num_samples", "bytes": "num_bytes"}
    return {names.get(name, name): value for name, value in entry.items()}


@dataclass(frozen=True)
class SplitEntry:
    """A split: its shards in order, and the outcome of the requested clips."""

    shards: tuple[ShardEntry, ...]
    tally: Tally

    @property
    def num_samples(self) -> int:
        return sum(shard.num_samples for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """The manifest of a dataset: its spec, its contents, and the software that built it."""

    dataset: str
    fingerprint: str
    """SHA-256 of ``spec``: datasets with equal fingerprints have equal shards."""
    spec: Mapping[str, Any]
    splits: Mapping[str, SplitEntry]
    licence: str
    citation: str
    built_with: Mapping[str, str]
    """{software: version}"""
    files: tuple[FileEntry, ...] = field(default=())
    """The tables and the vocabulary beside the manifest."""

    @property
    def tally(self) -> Tally:
        return sum((split.tally for split in self.splits.values()), Tally())

    @property
    def num_bytes(self) -> int:
        return sum(shard.num_bytes for _, shard in self.shards())

    def shards(self) -> Iterator[tuple[str, ShardEntry]]:
        """Yield (split, shard) for every shard."""
        for name, split in self.splits.items():
            for shard in split.shards:
                yield name, shard

    def shard_range(self, split: str) -> range:
        """Return the indices of a split's shards among all shards; their row groups in the index have the same indices."""
        names = list(self.splits)
        first = sum(len(self.splits[name].shards) for name in names[: names.index(split)])
        return range(first, first + len(self.splits[split].shards))

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json: JSON indented by two spaces; its last entry is the SHA-256 of the others."""
        body = {
            "format": FORMAT,
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "spec": self.spec,
            "splits": {
                name: {
                    "samples": split.num_samples,
                    "tally": split.tally.as_json(),
                    "shards": [shard.as_json() for shard in split.shards],
                }
                for name, split in self.splits.items()
            },
            "tally": self.tally.as_json(),
            "files": [file.as_json() for file in self.files],
            "licence": self.licence,
            "citation": self.citation,
            "built_with": self.built_with,
        }
        return (json.dumps({**body, "sha256": fingerprint(body)}, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def of_folder(cls, folder: Folder) -> Manifest:
        """Read the manifest of a folder. Raises as ``from_bytes``, and FileNotFoundError or NotADirectoryError without one."""
        return cls.from_bytes(folder.read_bytes(MANIFEST), folder.join(MANIFEST))

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Manifest:
        """Parse the content of manifest.json. Raises NotADatasetError if it is no manifest or damaged."""
        try:
            body = json.loads(data)
            sha256 = body.pop("sha256")
            if body["format"] != FORMAT:
                raise NotADatasetError(
                    f"{path} has format {body['format']!r}, expected {FORMAT!r}; a newer t2vdata may read it"
                )
            if sha256 != fingerprint(body):
                raise NotADatasetError(f"{path} is damaged: its hash does not match; restore it or build into a new folder")
            splits = {
                name: SplitEntry(tuple(ShardEntry.from_json(shard) for shard in split["shards"]), Tally(**split["tally"]))
                for name, split in body["splits"].items()
            }
            files = tuple(FileEntry.from_json(file) for file in body["files"])
            fields = {name: body[name] for name in ("dataset", "fingerprint", "spec", "licence", "citation", "built_with")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotADatasetError(f"{path} is damaged, or not a t2vdata manifest: {error!r}") from error
        return cls(splits=splits, files=files, **fields)


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON value: keys sorted, no whitespace, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def spec_differences(a: Any, b: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (name, JSON value in ``a``, JSON value in ``b``) for each difference of two specs, such as ``options.size``."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*b, *a]):
            yield from spec_differences(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
    elif a != b:
        yield name, json.dumps(a), json.dumps(b)


def read(folder: str) -> Manifest:
    """Read the manifest of a dataset folder. Raises NotADatasetError, which says what the path holds instead."""
    try:
        return Manifest.of_folder(Folder(folder))
    except (FileNotFoundError, NotADirectoryError):
        raise NotADatasetError(_why_no_dataset(folder)) from None
    except StorageError as error:
        raise NotADatasetError(str(error)) from error


def _why_no_dataset(folder: str) -> str:
    if storage.is_url(folder):
        return f"no dataset at {folder}: it has no {MANIFEST}; check the address, or upload a built dataset"
    if not storage.exists(folder):
        return f"no dataset at {folder}: there is no such folder; build one with `t2vdata build mnist-motion --out {folder}`"
    if not storage.is_folder(folder):
        return f"no dataset at {folder}: that is a file; expected the folder that holds it"
    names = storage.list_names(folder)
    if BUILD_FOLDER in names and storage.exists(storage.join(folder, BUILD_FOLDER, STOPPED)):
        return (
            f"the build in {folder} stopped because too many clips failed; see {storage.join(folder, 'rejects.parquet')}, and "
            "run its command again with a higher --max-failures"
        )
    if BUILD_FOLDER in names:
        return f"the build in {folder} is not finished; run the build command again to resume it"
    inside = [name for name in names if storage.exists(storage.join(storage.join(folder, name), MANIFEST))]
    if inside:
        return f"no dataset at {folder}, but there is one in {storage.join(folder, inside[0])}"
    return f"no dataset at {folder}: it has no {MANIFEST}"


def file_entry(folder: Folder, name: str) -> FileEntry:
    """Return the manifest's entry for a file of the folder."""
    return FileEntry(name, folder.size(name) or 0, folder.sha256(name))


def write(folder: Folder, manifest: Manifest) -> None:
    """Write manifest.json. This makes the folder a dataset."""
    folder.write(MANIFEST, manifest.to_bytes())
