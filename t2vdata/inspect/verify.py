"""Is a dataset what its manifest says? Hashes, sizes, offsets, counts; with ``deep``, every clip against its row."""

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
from t2vdata.format import manifest, sample, tables
from t2vdata.format.manifest import Manifest, ShardEntry
from t2vdata.format.shards import Member, read_samples
from t2vdata.media import decode
from t2vdata.types import Sample


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be."""

    file: str
    text: str
    key: str | None = None
    """The sample concerned, where it is one."""

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


@dataclass(frozen=True)
class Verdict:
    """What was checked and what was found."""

    problems: tuple[Problem, ...]
    shards: int
    samples: int
    """Samples found in the shards."""
    bytes: int
    deep: bool

    @property
    def is_sound(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class _Check:
    """The work on one shard, as plain data."""

    entry: ShardEntry
    split: str
    rows: list[dict[str, Any]] | None
    """Its rows of the index; None when the index cannot be read."""


@dataclass(frozen=True)
class _Found:
    samples: int
    bytes: int
    problems: list[Problem] = field(default_factory=list)


def verify(
    path: str, *, deep: bool = False, num_workers: int = 1, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Verdict:
    """Check a dataset folder; return what was found. ``deep`` also decodes every clip and compares it with its row.

    ``on_progress`` is called with the number of shards done and their total. Raises NotADatasetError when there is no
    manifest that can be read.
    """
    whole = manifest.read(path)
    problems = [*_check_files(path, whole), *_check_counts(whole), *_check_strangers(path, whole)]
    shards = list(whole.shards())
    found: list[_Found] = []
    engine = local.run(functools.partial(check_shard, path, deep), _checks(path, shards, problems), num_workers=num_workers)
    for one in engine:
        found.append(one)
        on_progress(len(found), len(shards))
    problems += sorted((problem for one in found for problem in one.problems), key=lambda problem: problem.file)
    return Verdict(tuple(problems), len(shards), sum(one.samples for one in found), sum(one.bytes for one in found), deep)


def check_shard(path: str, deep: bool, check: _Check) -> _Found:
    """Check one shard against its entry in the manifest and its rows in the index. Runs in a worker."""
    entry = check.entry
    try:
        with storage.open_read(storage.join(path, entry.name)) as file:
            hashing = _HashingFile(file)
            problems = list(_check_samples(hashing, check, deep))
            hashing.drain()
    except (FileNotFoundError, NotADirectoryError):
        return _Found(0, 0, [Problem(entry.name, "is missing; run the build command again, it makes what is not there")])
    except StorageError as error:
        return _Found(0, 0, [Problem(entry.name, str(error))])
    if hashing.size != entry.num_bytes:
        problems.insert(0, Problem(entry.name, f"has {hashing.size} bytes, expected {entry.num_bytes}"))
    elif hashing.hexdigest() != entry.sha256:
        problems.insert(0, Problem(entry.name, "its SHA-256 is not the manifest's: remove it and run the build command again"))
    return _Found(hashing.samples, hashing.size, problems)


class _HashingFile:
    """A file that is read once and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.samples = 0

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


def _check_files(path: str, whole: Manifest) -> Iterator[Problem]:
    for file in whole.files:
        place = storage.join(path, file.name)
        size = storage.size(place)
        if size is None:
            yield Problem(file.name, "is missing; run the build command again, it makes what is not there")
        elif size != file.num_bytes or storage.sha256(place) != file.sha256:
            yield Problem(file.name, "its SHA-256 is not the manifest's: remove it and run the build command again")


def _check_counts(whole: Manifest) -> Iterator[Problem]:
    for name, split in whole.splits.items():
        if split.num_samples != split.tally.kept:
            yield Problem(
                manifest.MANIFEST, f"split {name} has {split.num_samples} samples in shards, but {split.tally.kept} kept"
            )


def _check_strangers(path: str, whole: Manifest) -> Iterator[Problem]:
    known = {shard.name for _, shard in whole.shards()}
    for name in storage.list_names(path):
        if name.endswith(".tar") and name not in known:
            yield Problem(name, "is not in the manifest; readers that take *.tar will read it: move it away")


def _checks(path: str, shards: list[tuple[str, ShardEntry]], problems: list[Problem]) -> Iterator[_Check]:
    """Yield the work, with the rows of each shard; what is wrong with the index is noted once."""
    # A changed index is named by its hash; its rows say nothing of the shards, which still have their own hashes.
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
        for found, members in read_samples(cast(IO[bytes], file)):
            number, file.samples = file.samples, file.samples + 1
            if rows is None:
                continue
            if number >= len(rows):
                yield Problem(name, "is not in the index", found.key)
                continue
            for text in _compare(found, members, rows[number], check.split, deep):
                yield Problem(name, text, found.key)
    except ShardError as error:
        yield Problem(name, str(error))
        return
    if file.samples != check.entry.num_samples:
        yield Problem(name, f"has {file.samples} samples, expected {check.entry.num_samples}")
    if rows is not None and file.samples < len(rows):
        yield Problem(name, f"{len(rows) - file.samples} rows of the index have no sample, from {rows[file.samples]['key']} on")


def _compare(found: Sample, members: list[Member], row: Mapping[str, Any], split: str, deep: bool) -> Iterator[str]:
    if found.key != row["key"] or row["split"] != split:
        yield f"the index has {row['key']} of split {row['split']} here"
        return
    places = sample.to_row(found, members, row["shard"])
    for column, value in places.items():
        if column != "sha256" and row[column] != value:
            yield f"{column} is {value}, the index says {row[column]}"
    if places["sha256"] != row["sha256"]:
        yield "the SHA-256 of its files is not the index's"
    if deep:
        yield from _compare_content(found, row)


def _compare_content(found: Sample, row: Mapping[str, Any]) -> Iterator[str]:
    try:
        about = json.loads(found.files["json"])
        first = found.files["txt"].decode()
        pixels = found.files[row["extension"]]
        frames = decode.decode(row["extension"], pixels, fps=row["fps"], channels=row["channels"])
    except (DecodeError, ValueError) as error:
        yield f"does not decode: {error}"
        return
    except KeyError as error:
        yield f"has no {error.args[0]} member"
        return
    if first != row["captions"][0]:
        yield f"the text is {first!r}, the index says {row['captions'][0]!r}"
    for column in ("num_frames", "height", "width", "channels"):
        if getattr(frames, column) != row[column]:
            yield f"{column} is {getattr(frames, column)} when decoded, the index says {row[column]}"
    for column in ("key", "split", "captions", "label", "meaning", "group", "num_frames", "fps", "height", "width", "channels"):
        if about.get(column) != row[column]:
            yield f"its JSON has {column} {about.get(column)!r}, the index says {row[column]!r}"
    if row["pts"] is not None:
        from t2vdata.media.decode import pyav

        timing = pyav.read_timing(pixels)
        if (list(timing.pts), list(timing.key_frames), timing.time_base) != (row["pts"], row["key_frames"], row["time_base"]):
            yield "its time stamps and key frames are not the index's"
