"""Check a dataset against its manifest: hashes, sizes, offsets and counts; with ``deep``, decode every clip."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from t2vdata import storage
from t2vdata.engines import local
from t2vdata.errors import DataError, DecodeError, ShardError, StorageError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest, ShardEntry
from t2vdata.format.sample import to_row
from t2vdata.format.shards import Member, read_samples
from t2vdata.media import decode
from t2vdata.types import Sample

_MISSING = "is missing; run the build command again to restore it"
_CHANGED = "its SHA-256 differs from the manifest's; remove it and run the build command again"


@dataclass(frozen=True)
class Problem:
    """Something in a dataset that does not match its manifest or index."""

    file: str
    text: str
    key: str | None = None
    """The sample with the problem; None for a problem of the whole file."""

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


@dataclass(frozen=True)
class VerifyReport:
    """The result of a check."""

    problems: tuple[Problem, ...]
    num_shards: int
    num_samples: int
    """Samples read from the shards."""
    num_bytes: int
    deep: bool

    @property
    def is_sound(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class _Check:
    """The check of one shard, as plain data for a worker."""

    entry: ShardEntry
    split: str
    rows: list[dict[str, Any]] | None
    """Its rows of the index; None if the index cannot be read."""


@dataclass(frozen=True)
class _ShardResult:
    num_samples: int
    num_bytes: int
    problems: list[Problem] = field(default_factory=list)


def verify(
    path: str, *, deep: bool = False, num_workers: int = 1, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> VerifyReport:
    """Check a dataset folder. ``deep`` also decodes every clip and compares it with its row in the index.

    ``on_progress`` is called with the number of checked shards and their total. Raises NotADatasetError if there is no
    readable manifest.
    """
    dataset = manifest.read(path)
    problems = [*_check_files(path, dataset), *_check_counts(dataset), *_check_extra_shards(path, dataset)]
    shards = list(dataset.shards())
    results: list[_ShardResult] = []
    engine = local.run(functools.partial(check_shard, path, deep), _checks(path, shards, problems), num_workers=num_workers)
    for result in engine:
        results.append(result)
        on_progress(len(results), len(shards))
    problems += sorted((problem for result in results for problem in result.problems), key=lambda problem: problem.file)
    num_samples, num_bytes = sum(result.num_samples for result in results), sum(result.num_bytes for result in results)
    return VerifyReport(tuple(problems), len(shards), num_samples, num_bytes, deep)


def check_shard(path: str, deep: bool, check: _Check) -> _ShardResult:
    """Check one shard against its entry in the manifest and its rows in the index. Runs in a worker."""
    entry = check.entry
    try:
        with storage.open_read(storage.join(path, entry.name)) as file:
            hashing = _HashingFile(file)
            problems = list(_check_samples(hashing, check, deep))
            hashing.drain()
    except (FileNotFoundError, NotADirectoryError):
        return _ShardResult(0, 0, [Problem(entry.name, _MISSING)])
    except StorageError as error:
        return _ShardResult(0, 0, [Problem(entry.name, str(error))])
    if hashing.size != entry.num_bytes:
        problems.insert(0, Problem(entry.name, f"has {hashing.size} bytes, expected {entry.num_bytes}"))
    elif hashing.hexdigest() != entry.sha256:
        problems.insert(0, Problem(entry.name, _CHANGED))
    return _ShardResult(hashing.num_samples, hashing.size, problems)


class _HashingFile:
    """A file that is hashed while it is read, and the number of its samples."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.num_samples = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _check_files(path: str, dataset: Manifest) -> Iterator[Problem]:
    for file in dataset.files:
        file_path = storage.join(path, file.name)
        size = storage.size(file_path)
        if size is None:
            yield Problem(file.name, _MISSING)
        elif size != file.num_bytes or storage.sha256(file_path) != file.sha256:
            yield Problem(file.name, _CHANGED)


def _check_counts(dataset: Manifest) -> Iterator[Problem]:
    for name, split in dataset.splits.items():
        if split.num_samples != split.tally.kept:
            yield Problem(
                manifest.MANIFEST, f"split {name} has {split.num_samples} samples in its shards, expected {split.tally.kept}"
            )


def _check_extra_shards(path: str, dataset: Manifest) -> Iterator[Problem]:
    known = {shard.name for _, shard in dataset.shards()}
    for name in storage.list_names(path):
        if name.endswith(".tar") and name not in known:
            yield Problem(name, "is not in the manifest, but readers of *.tar would read it; move it out of the folder")


def _checks(path: str, shards: list[tuple[str, ShardEntry]], problems: list[Problem]) -> Iterator[_Check]:
    """Yield the check of each shard with its rows; add a problem of the index to ``problems`` once."""
    # A changed index has been reported already, by its hash. Its rows do not matter then: shards have their own hashes.
    is_changed = any(problem.file == tables.INDEX for problem in problems)
    by_shard = None if is_changed else tables.read_index_by_shard(path)
    for split, entry in shards:
        rows = None
        if by_shard is not None:
            try:
                rows = next(by_shard, [])
            except DataError as error:
                by_shard = None
                problems.append(Problem(tables.INDEX, str(error)))
        yield _Check(entry, split, rows)
    if by_shard is not None and next(by_shard, None) is not None:
        problems.append(Problem(tables.INDEX, "has rows of shards that are not in the manifest"))


def _check_samples(file: _HashingFile, check: _Check, deep: bool) -> Iterator[Problem]:
    name = check.entry.name
    rows = check.rows
    try:
        for sample, members in read_samples(cast(IO[bytes], file)):
            index, file.num_samples = file.num_samples, file.num_samples + 1
            if rows is None:
                continue
            if index >= len(rows):
                yield Problem(name, "is not in the index", sample.key)
                continue
            for text in _compare(sample, members, rows[index], check.split, deep):
                yield Problem(name, text, sample.key)
    except ShardError as error:
        yield Problem(name, str(error))
        return
    if file.num_samples != check.entry.num_samples:
        yield Problem(name, f"has {file.num_samples} samples, expected {check.entry.num_samples}")
    if rows is not None and file.num_samples < len(rows):
        yield Problem(
            name,
            f"{len(rows) - file.num_samples} rows of the index have no sample, starting with {rows[file.num_samples]['key']}",
        )


def _compare(sample: Sample, members: list[Member], row: Mapping[str, Any], split: str, deep: bool) -> Iterator[str]:
    if sample.key != row["key"] or row["split"] != split:
        yield f"the index has {row['key']} of split {row['split']} here"
        return
    expected = to_row(sample, members, row["shard"])
    for column, value in expected.items():
        if column != "sha256" and row[column] != value:
            yield f"{column} is {value}, the index says {row[column]}"
    if expected["sha256"] != row["sha256"]:
        yield "the SHA-256 of its files differs from the index"
    if deep:
        yield from _compare_content(sample, row)


def _compare_content(sample: Sample, row: Mapping[str, Any]) -> Iterator[str]:
    try:
        metadata = json.loads(sample.files["json"])
        text = sample.files["txt"].decode()
        pixels = sample.files[row["extension"]]
        frames = decode.decode(row["extension"], pixels, fps=row["fps"], channels=row["channels"])
    except (DecodeError, ValueError) as error:
        yield f"does not decode: {error}"
        return
    except KeyError as error:
        yield f"has no {error.args[0]} member"
        return
    if text != row["captions"][0]:
        yield f"the text is {text!r}, the index says {row['captions'][0]!r}"
    for column in ("num_frames", "height", "width", "channels"):
        if getattr(frames, column) != row[column]:
            yield f"{column} is {getattr(frames, column)} when decoded, the index says {row[column]}"
    for column in ("key", "split", "captions", "label", "meaning", "group", "num_frames", "fps", "height", "width", "channels"):
        if metadata.get(column) != row[column]:
            yield f"its JSON has {column} {metadata.get(column)!r}, the index says {row[column]!r}"
    if row["pts"] is not None:
        from t2vdata.media.decode import pyav

        timing = pyav.read_timing(pixels)
        if (list(timing.pts), list(timing.key_frames), timing.time_base) != (row["pts"], row["key_frames"], row["time_base"]):
            yield "its time stamps or key frames differ from the index"
