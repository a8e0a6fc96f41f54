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
from t2vdata.format import schema
from t2vdata.format.schema import SchemaError
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
# A manifest of a quarter of a million shards is smaller.
MAX_BYTES = 64 << 20
# A sample takes at least one block of its tar file, for the header of a member.
_MIN_SAMPLE_BYTES = 512

_COUNT = schema.whole_number()
_TALLY = schema.record(
    {"kept": _COUNT, "rejected": schema.mapping(schema.text, _COUNT), "failed": schema.mapping(schema.text, _COUNT)}
)
_FILE = schema.record({"name": schema.file_name, "bytes": _COUNT, "sha256": schema.sha256})
_SHARD = schema.record(
    {"name": schema.file_name, "samples": schema.whole_number(at_least=1), "bytes": _COUNT, "sha256": schema.sha256}
)
_SPLIT = schema.record({"samples": _COUNT, "tally": _TALLY, "shards": schema.list_of(_SHARD)})
_SCHEMA = schema.record(
    {
        "dataset": schema.file_stem,
        "fingerprint": schema.text,
        "spec": schema.mapping(schema.text, schema.anything),
        "splits": schema.mapping(schema.label, _SPLIT),
        "tally": _TALLY,
        "files": schema.list_of(_FILE),
        "licence": schema.text,
        "citation": schema.text,
        "built_with": schema.mapping(schema.text, schema.text),
    }
)


@dataclass(frozen=True)
class FileEntry:
    """A file of the dataset other than a shard, with its size and hash."""

    name: str
    num_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FileEntry:
        return cls(entry["name"], entry["bytes"], entry["sha256"])

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
        return cls(entry["name"], entry["samples"], entry["bytes"], entry["sha256"])

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "samples": self.num_samples, "bytes": self.num_bytes, "sha256": self.sha256}


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
        path = folder.join(MANIFEST)
        data = folder.read_bytes(MANIFEST, max_bytes=MAX_BYTES)
        return cls.from_bytes(data, path)

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Manifest:
        """Parse the content of manifest.json. Raises NotADatasetError if it is no manifest or damaged."""
        try:
            body = schema.parse(data)
            schema.record({"format": schema.text, "sha256": schema.text})(body, "")
            if body["format"] != FORMAT:
                raise NotADatasetError(
                    f"{path} has format {schema.shown(body['format'])}, expected {FORMAT!r}; a newer t2vdata may read it"
                )
            if body.pop("sha256") != fingerprint(body):
                raise NotADatasetError(f"{path} is damaged: its hash does not match; restore it or build into a new folder")
            _check(body)
        except UnicodeEncodeError as error:
            raise NotADatasetError(f"{path} is damaged, or not a t2vdata manifest: {error}") from error
        except SchemaError as error:
            raise NotADatasetError(f"{path} is damaged, or not a t2vdata manifest: {error}") from error
        return cls._of_json(body)

    @classmethod
    def _of_json(cls, body: Mapping[str, Any]) -> Manifest:
        splits = {
            name: SplitEntry(tuple(ShardEntry.from_json(shard) for shard in split["shards"]), _tally(split["tally"]))
            for name, split in body["splits"].items()
        }
        files = tuple(FileEntry.from_json(file) for file in body["files"])
        fields = {name: body[name] for name in ("dataset", "fingerprint", "spec", "licence", "citation", "built_with")}
        return cls(splits=splits, files=files, **fields)


def _tally(body: Mapping[str, Any]) -> Tally:
    return Tally(body["kept"], body["rejected"], body["failed"])


def _check(body: Mapping[str, Any]) -> None:
    """Raise SchemaError unless a reader can rely on the fields of a manifest and use its names as file names."""
    _SCHEMA(body, "")
    listed = set[str]()
    for split, entry in body["splits"].items():
        for index, shard in enumerate(entry["shards"]):
            field_name = f"splits[{schema.shown(split)}].shards[{index}]"
            if shard["name"] in listed:
                raise schema.fail(shard["name"], f"{field_name}.name", "each shard once")
            listed.add(shard["name"])
            most = shard["bytes"] // _MIN_SAMPLE_BYTES
            if shard["samples"] > most:
                raise schema.fail(shard["samples"], f"{field_name}.samples", f"at most {most} in {shard['bytes']} bytes")
    if body["fingerprint"] != (sha256 := fingerprint(body["spec"])):
        raise schema.fail(body["fingerprint"], "fingerprint", f"the SHA-256 of the spec, {sha256}")


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
        return storage.retry_reading(lambda: Manifest.of_folder(Folder(folder)))
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
