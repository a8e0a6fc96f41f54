"""Check one shard against its entry in the manifest and its rows in the index, in a worker, in bounded memory.

Contents are hashed in blocks as they are read; only ``deep`` keeps the members of a sample, once their sizes fit the index.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from t2vdata import storage
from t2vdata.errors import ClipError, RequestError, ShardError, StorageError
from t2vdata.format import schema
from t2vdata.format.manifest import ShardEntry
from t2vdata.format.schema import SchemaError
from t2vdata.format.shards import Member, stream_members
from t2vdata.inspect.problems import Problem
from t2vdata.media import decode
from t2vdata.types import check_key

MISSING = "is missing; run the build command again to restore it"
CHANGED = "its SHA-256 differs from the manifest's; remove it and run the build command again"
# The content of a member is compared and decoded if it is as long as the index says, or small, and not too long.
_SMALL_BYTES, _MAX_DEEP_BYTES = 1 << 24, 1 << 30
_MAX_SHOWN = 80


@dataclass(frozen=True)
class ShardCheck:
    """The check of one shard, as plain data for a worker."""

    entry: ShardEntry
    split: str
    rows: list[dict[str, Any]] | None
    """Its rows of the index; None if they cannot be read."""

    def __str__(self) -> str:
        return f"shard {self.entry.name}"


@dataclass(frozen=True)
class ShardResult:
    """The result of the check of one shard."""

    num_samples: int
    num_bytes: int
    problems: list[Problem] = field(default_factory=list)


def check_shard(path: str, deep: bool, check: ShardCheck) -> ShardResult:
    """Check one shard. Runs in a worker; an error of the disk or the store is a problem of the shard."""
    entry = check.entry
    shard = _Shard(check, deep)
    try:
        name = storage.join(path, entry.name)
        storage.check_regular(name)
        num_bytes = entry.num_bytes if storage.is_url(name) else storage.size(name)
        with storage.open_read(name) as file:
            shard.read(file)
    except (FileNotFoundError, NotADirectoryError):
        return ShardResult(0, 0, [Problem(entry.name, MISSING)])
    except StorageError as error:
        return ShardResult(shard.num_samples, 0, [*shard.problems, Problem(entry.name, f"cannot be read: {error}")])
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else str(error)
        problem = Problem(entry.name, f"cannot be read: {text}; check the disk, or restore it from a copy")
        return ShardResult(shard.num_samples, 0, [*shard.problems, problem])
    num_bytes = max(shard.num_bytes, num_bytes or 0)
    if num_bytes != entry.num_bytes:
        more = "over " if num_bytes > entry.num_bytes and storage.is_url(name) else ""
        size = entry.num_bytes if more else num_bytes
        shard.problems.insert(0, Problem(entry.name, f"has {more}{size} bytes, expected {entry.num_bytes}"))
    elif shard.sha256 != entry.sha256:
        shard.problems.insert(0, Problem(entry.name, CHANGED))
    return ShardResult(shard.num_samples, shard.num_bytes, shard.problems)


class _HashingFile:
    """A file that is hashed while it is read, at most to one byte beyond its expected size."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._max_bytes = max_bytes
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._max_bytes + 1 - self.num_bytes))
        self._hash.update(data)
        self.num_bytes += len(data)
        return data

    def drain(self) -> str:
        """Read what is left, and return the SHA-256 of everything."""
        while self.read(1 << 20):
            pass
        return self._hash.hexdigest()


class _Shard:
    """A shard while it is checked: counts its samples and collects its problems."""

    def __init__(self, check: ShardCheck, deep: bool) -> None:
        self._check = check
        self._deep = deep
        self.num_samples = 0
        self.num_bytes = 0
        self.sha256 = ""
        self.problems: list[Problem] = []

    def read(self, file: IO[bytes]) -> None:
        """Read the file from start to end. Raises what reading raises."""
        hashing = _HashingFile(file, self._check.entry.num_bytes)
        try:
            self._read_samples(hashing)
        except ShardError as error:
            self._add(str(error))
        else:
            self._check_counts()
        finally:
            self.num_bytes = hashing.num_bytes
        self.sha256 = hashing.drain()
        self.num_bytes = hashing.num_bytes

    def _read_samples(self, file: _HashingFile) -> None:
        sample: _Sample | None = None
        for member, blocks in stream_members(cast(IO[bytes], file)):
            key, _, extension = member.name.partition(".")
            if sample is None or key != sample.key:
                self._finish(sample)
                sample = self._begin(key)
            sample.add(member, extension, blocks)
        self._finish(sample)

    def _begin(self, key: str) -> _Sample:
        rows, index = self._check.rows, self.num_samples
        self.num_samples += 1
        row = rows[index] if rows is not None and index < len(rows) else None
        return _Sample(key, row, self._deep)

    def _finish(self, sample: _Sample | None) -> None:
        if sample is None:
            return
        for text in sample.problems(self._check.split):
            self._add(text, sample.key)
        if self._check.rows is not None and sample.row is None:
            self._add("is not in the index", sample.key)

    def _check_counts(self) -> None:
        rows, expected = self._check.rows, self._check.entry.num_samples
        if self.num_samples != expected:
            self._add(f"has {self.num_samples} samples, expected {expected}")
        if rows is not None and self.num_samples < len(rows):
            missing = len(rows) - self.num_samples
            self._add(f"{missing} rows of the index have no sample, starting with {rows[self.num_samples]['key']}")

    def _add(self, text: str, key: str | None = None) -> None:
        self.problems.append(Problem(self._check.entry.name, text, key))


class _Sample:
    """The members of one sample, compared with its row of the index."""

    def __init__(self, key: str, row: Mapping[str, Any] | None, deep: bool) -> None:
        self.key = key
        self.row = row
        self._deep = deep
        self._hash = hashlib.sha256()
        self._members: dict[str, Member] = {}
        self._contents: dict[str, bytes] = {}
        self._repeated: list[str] = []

    def add(self, member: Member, extension: str, blocks: Iterator[bytes]) -> None:
        """Add the next member of the sample."""
        is_new = extension not in self._members
        if is_new:
            self._members[extension] = member
        else:
            self._repeated.append(member.name)
        kept: list[bytes] | None = [] if is_new and self._deep and member.size <= self._most_bytes(extension) else None
        for block in blocks:
            if is_new:
                self._hash.update(block)
            if kept is not None:
                kept.append(block)
        if kept is not None:
            self._contents[extension] = b"".join(kept)

    def _most_bytes(self, extension: str) -> int:
        if self.row is None:
            return -1
        size: int = self.row[f"{_role(extension)}_size"]
        return min(max(size, _SMALL_BYTES), _MAX_DEEP_BYTES)

    def problems(self, split: str) -> Iterator[str]:
        """Yield what is wrong with the sample."""
        try:
            check_key(self.key)
        except RequestError as error:
            yield str(error)
        for name in self._repeated:
            yield f"{name} exists twice"
        if list(self._members) != sorted(self._members):
            yield "its members are not sorted by extension"
        row = self.row
        if row is None:
            return
        if self.key != row["key"] or row["split"] != split:
            yield f"the index has {row['key']} of split {row['split']} here; expected {self.key} of split {split}"
            return
        yield from self._compare(row)
        if self._deep:
            yield from self._compare_content(row)

    def _compare(self, row: Mapping[str, Any]) -> Iterator[str]:
        for extension in ("txt", "json", row["extension"]):
            if extension not in self._members:
                yield f"has no {extension} member"
        for extension, member in self._members.items():
            if extension not in ("txt", "json", row["extension"]):
                yield f"has a member .{extension} that is not in the index"
                continue
            for what, value in (("offset", member.offset), ("size", member.size)):
                column = f"{_role(extension)}_{what}"
                if row[column] != value:
                    yield f"{column} is {value}, the index says {row[column]}"
        if self._hash.hexdigest() != row["sha256"]:
            yield "the SHA-256 of its files differs from the index"

    def _compare_content(self, row: Mapping[str, Any]) -> Iterator[str]:
        if not {"txt", "json", row["extension"]} <= self._contents.keys():
            # Members that are missing, or larger than the index says, have been reported.
            return
        pixels = self._contents[row["extension"]]
        try:
            metadata = schema.parse(self._contents["json"])
            schema.mapping(schema.text, schema.anything)(metadata, "the JSON")
            text = self._contents["txt"].decode()
            frames = decode.decode(
                row["extension"],
                pixels,
                fps=row["fps"],
                channels=row["channels"],
                max_pixels=row["num_frames"] * row["height"] * row["width"],
            )
        except (ClipError, SchemaError, UnicodeDecodeError) as error:
            yield f"does not decode: {error}"
            return
        if text != row["captions"][0]:
            yield f"the text is {_shown(text)}, the index says {_shown(row['captions'][0])}"
        yield from _compare_columns(row, metadata, frames)
        if row.get("pts") is not None:
            yield from _compare_timing(row, pixels)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _role(extension: str) -> str:
    return extension if extension in ("txt", "json") else "pixels"


def _compare_columns(row: Mapping[str, Any], metadata: Mapping[str, Any], frames: Any) -> Iterator[str]:
    for column in ("num_frames", "height", "width", "channels"):
        if getattr(frames, column) != row[column]:
            yield f"{column} is {getattr(frames, column)} when decoded, the index says {row[column]}"
    for column in ("key", "split", "captions", "label", "meaning", "group", "num_frames", "fps", "height", "width", "channels"):
        if metadata.get(column) != row.get(column):
            yield f"its JSON has {column} {_shown(metadata.get(column))}, the index says {_shown(row.get(column))}"


def _compare_timing(row: Mapping[str, Any], pixels: bytes) -> Iterator[str]:
    from t2vdata.media.decode import pyav

    timing = pyav.read_timing(pixels)
    if (list(timing.pts), list(timing.key_frames), timing.time_base) != (row["pts"], row["key_frames"], row["time_base"]):
        yield "its time stamps or key frames differ from the index"
