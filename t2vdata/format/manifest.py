"""What a dataset folder says of itself: ``manifest.json``, ``index.parquet`` and ``rejects.parquet``.

The manifest is written last and hashes itself, the two tables and every shard; a folder without it is not a dataset. The
only room that knows parquet. docs/format.md describes the files for those who read them without us.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t2vdata import storage
from t2vdata.errors import DataError, NotADatasetError, StorageError
from t2vdata.types import Reject, Tally

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "t2vdata/1"
# Where a build in progress keeps what is its own.
BUILD_FOLDER = ".t2vdata-build"
# In the spec, {shard: SHA-256} of those that --retry-failed has appended: they make it another dataset.
APPENDED = "appended"
MANIFEST, INDEX, REJECTS, VOCABULARY = "manifest.json", "index.parquet", "rejects.parquet", "vocabulary.json"

# A table of this size at most is fetched whole: row by row, a thousand small requests take longer than its bytes.
_FETCHED_BYTES = 1 << 30
# Rejects that are held until they are written: a row group of them.
_REJECTS_AT_ONCE = 100_000
# Row groups that are read together: enough to use the cores, few enough to hold.
_SHARDS_AT_ONCE = 16

# Columns of the index that a row must have a value for, and those that may be null.
_REQUIRED = ("key", "split", "shard", "sha256", "extension", "pixels_offset", "pixels_size", "txt_offset", "txt_size",
             "json_offset", "json_size", "captions", "num_frames", "fps", "height", "width", "channels")  # fmt: skip


@dataclass(frozen=True)
class FileEntry:
    """A file of the dataset, as it was when it was written."""

    name: str
    num_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FileEntry:
        return cls(**_with_our_names(entry))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "bytes": self.num_bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class ShardEntry:
    """A shard, as it was when it was written."""

    name: str
    num_samples: int
    num_bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ShardEntry:
        return cls(**_with_our_names(entry))

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "samples": self.num_samples, "bytes": self.num_bytes, "sha256": self.sha256}


def _with_our_names(entry: Mapping[str, Any]) -> dict[str, Any]:
    names = {"samples": "num_samples", "bytes": "num_bytes"}
    return {names.get(name, name): value for name, value in entry.items()}


@dataclass(frozen=True)
class SplitEntry:
    """A split: its shards in order, and what became of the clips that were asked for."""

    shards: tuple[ShardEntry, ...]
    tally: Tally

    @property
    def num_samples(self) -> int:
        return sum(shard.num_samples for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """What a dataset is, what is in it, and what made it."""

    dataset: str
    fingerprint: str
    """SHA-256 of ``spec``: two datasets with one fingerprint have the same shards."""
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
        """Return the places of a split's shards among all shards, which are those of their row groups in the index."""
        names = list(self.splits)
        first = sum(len(self.splits[name].shards) for name in names[: names.index(split)])
        return range(first, first + len(self.splits[split].shards))

    def to_bytes(self) -> bytes:
        """Return manifest.json: two-space JSON whose last entry is the SHA-256 of the rest."""
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
    def from_bytes(cls, data: bytes, path: str) -> Manifest:
        """Return the manifest in the bytes of manifest.json. Raises NotADatasetError when they are not one, or damaged."""
        try:
            body = json.loads(data)
            found = body.pop("sha256")
            if body["format"] != FORMAT:
                raise NotADatasetError(f"{path} has format {body['format']!r}, not {FORMAT!r}; a newer t2vdata may read it")
            if found != fingerprint(body):
                raise NotADatasetError(f"{path} is damaged: its hash does not match; restore it or build into a new folder")
            splits = {
                name: SplitEntry(tuple(ShardEntry.from_json(shard) for shard in split["shards"]), Tally(**split["tally"]))
                for name, split in body["splits"].items()
            }
            files = tuple(FileEntry.from_json(file) for file in body["files"])
            named = {name: body[name] for name in ("dataset", "fingerprint", "spec", "licence", "citation", "built_with")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotADatasetError(f"{path} is damaged or no manifest of ours: {error!r}") from error
        return cls(splits=splits, files=files, **named)


def fingerprint(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON value: keys sorted, no blanks, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def spec_differences(a: Any, b: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (name, value in ``a``, value in ``b``), as JSON, of what two specs do not have alike: ``options.size``."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*b, *a]):
            yield from spec_differences(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
    elif a != b:
        yield name, json.dumps(a), json.dumps(b)


def read(folder: str) -> Manifest:
    """Return the manifest of a dataset folder. Raises NotADatasetError, with what is there instead, when there is none."""
    path = storage.join(folder, MANIFEST)
    try:
        return Manifest.from_bytes(storage.read_bytes(path), path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotADatasetError(_why_no_dataset(folder)) from None
    except StorageError as error:
        raise NotADatasetError(str(error)) from error


def _why_no_dataset(folder: str) -> str:
    if storage.is_url(folder):
        return f"no dataset at {folder}: no {MANIFEST} there; check the address, or copy a built dataset there"
    if not storage.exists(folder):
        return f"no dataset at {folder}: there is no such folder; build one with `t2vdata build mnist-motion --out {folder}`"
    if not storage.is_folder(folder):
        return f"no dataset at {folder}: that is a file; expected the folder that it is in"
    names = storage.list_names(folder)
    if BUILD_FOLDER in names:
        return f"the build in {folder} is not finished; run its command again, it goes on where it stopped"
    inside = [name for name in names if storage.exists(storage.join(storage.join(folder, name), MANIFEST))]
    if inside:
        return f"no dataset at {folder}, but there is one in {storage.join(folder, inside[0])}"
    return f"no dataset at {folder}: it has no {MANIFEST}"


class TableWriter:
    """Writes the index and the rejects of a build, a shard at a time; both appear when the block ends well.

    >>> with TableWriter(folder) as tables:
    ...     tables.add(rows, rejects)
    >>> tables.files
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._writer: Any = None
        self._rejects_writer: Any = None
        self._rejects: list[Reject] = []
        self.files: tuple[FileEntry, ...] = ()
        """What was written; known when the block has ended."""
        # Importing pyarrow takes longer than a small shard: done on the side, while workers start.
        self._import = threading.Thread(target=importlib.import_module, args=("pyarrow.parquet",), daemon=True)

    def __enter__(self) -> TableWriter:
        self._import.start()
        return self

    def add(self, rows: bytes, rejects: Iterable[Reject]) -> None:
        """Add the rows of a shard, a line of JSON for each, and the clips that it does without."""
        self._rejects.extend(rejects)
        if len(self._rejects) >= _REJECTS_AT_ONCE:
            self._write_rejects()
        _write_rows(self._open(), rows)

    def copy(self, folder: str, shard: int) -> None:
        """Add the rows of a shard from the index of another folder, by the shard's place in it."""
        writer = self._open()
        rows = storage.patiently(lambda: read_index(folder, shards=range(shard, shard + 1)))
        # An index of an older version has fewer columns; those that are new may be null.
        for place, column in enumerate(writer.schema):
            if column.name not in rows.column_names:
                rows = rows.add_column(place, column, _nulls(len(rows), column.type))
        writer.write_table(rows)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._import.join()
        if error is not None:
            # Told of the error, written_whole takes back what it has begun.
            self._stack.__exit__(kind, error, trace)
            return
        self._open()
        self._write_rejects()
        self._stack.close()
        self.files = (file_entry(self._folder, INDEX), file_entry(self._folder, REJECTS))

    def _open(self) -> Any:
        if self._writer is None:
            self._import.join()
            # The rejects are renamed last, as the last to be opened would be first.
            self._rejects_writer = self._table(REJECTS, _rejects_schema())
            self._writer = self._table(INDEX, index_schema())
        return self._writer

    def _table(self, name: str, schema: pa.Schema) -> Any:
        file = self._stack.enter_context(storage.written_whole(storage.join(self._folder, name)))
        return self._stack.enter_context(_table_writer(file, schema))

    def _write_rejects(self) -> None:
        self._open()
        _write_rows(self._rejects_writer, _reject_lines(self._rejects))
        self._rejects.clear()


def _nulls(count: int, kind: Any) -> Any:
    import pyarrow as pa

    return pa.nulls(count, kind)


def file_entry(folder: str, name: str) -> FileEntry:
    """Return the entry of a file that was just written."""
    path = storage.join(folder, name)
    return storage.patiently(lambda: FileEntry(name, storage.size(path) or 0, storage.sha256(path)))


def write(folder: str, manifest: Manifest) -> None:
    """Write manifest.json: from now on the folder is a dataset."""
    storage.write_whole(storage.join(folder, MANIFEST), manifest.to_bytes())


def write_rejects(folder: str, rejects: Sequence[Reject]) -> None:
    """Write rejects.parquet: with the index, or alone when a build stops early and has to show why."""
    with storage.written_whole(storage.join(folder, REJECTS)) as file, _table_writer(file, _rejects_schema()) as table:
        _write_rows(table, _reject_lines(rejects))


def _reject_lines(rejects: Sequence[Reject]) -> bytes:
    names = _rejects_schema().names
    return "\n".join(json.dumps({name: getattr(reject, name) for name in names}) for reject in rejects).encode()


def index_schema() -> pa.Schema:
    """Return the columns of index.parquet; docs/format.md says what each means."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "key": pa.string(),
        "split": pa.string(),
        "shard": pa.string(),
        "sha256": pa.string(),
        "extension": pa.string(),
        **{f"{member}_{what}": pa.int64() for member in ("pixels", "txt", "json") for what in ("offset", "size")},
        "captions": pa.list_(pa.string()),
        "label": pa.string(),
        "meaning": pa.string(),
        "group": pa.string(),
        "num_frames": pa.int32(),
        "fps": pa.float64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "channels": pa.int8(),
        "pts": pa.list_(pa.int64()),
        "key_frames": pa.list_(pa.bool_()),
        "time_base": pa.string(),
        "phash": pa.string(),
    }
    return pa.schema([pa.field(name, kind, nullable=name not in _REQUIRED) for name, kind in types.items()])


def read_index(folder: str, columns: Sequence[str] | None = None, *, shards: range | None = None) -> pa.Table:
    """Return rows of the index, in its order: the columns asked for, of some shards (see ``Manifest.shard_range``) or all.

    Raises DataError when the index is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        table = pq.ParquetFile(file)
        # A shard's rows are a row group. Not filtered by name: for a scalar to compare with, pyarrow imports pandas.
        groups = range(table.num_row_groups) if shards is None else shards
        return table.read_row_groups(list(groups), columns=None if columns is None else list(columns))


def read_index_in_parts(folder: str, columns: Sequence[str], *, shards: range) -> Iterator[pa.Table]:
    """Yield rows of the index as ``read_index`` returns them, some shards at a time: memory for all is not needed.

    Raises DataError when the index is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        # Not fetched ahead: that keeps what was read until the end.
        table = pq.ParquetFile(file, pre_buffer=False)
        for first in range(0, len(shards), _SHARDS_AT_ONCE):
            yield table.read_row_groups(list(shards[first : first + _SHARDS_AT_ONCE]), columns=list(columns), use_threads=False)
            # Else what one part has needed is kept beside what the next one needs.
            pa.default_memory_pool().release_unused()


def distinct(folder: str, column: str, *, outside: range) -> set[Any]:
    """Return the different values, other than null, that a column has in all shards but some. Raises DataError as above."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: set[Any] = set()
    with _table_file(folder, INDEX) as file:
        # Values that repeat lie in a dictionary in the file already.
        table = pq.ParquetFile(file, pre_buffer=False, read_dictionary=[column])
        groups = [group for group in range(table.num_row_groups) if group not in outside]
        for first in range(0, len(groups), _SHARDS_AT_ONCE):
            rows = table.read_row_groups(groups[first : first + _SHARDS_AT_ONCE], columns=[column])
            found.update(pc.unique(rows[column].cast(table.schema_arrow.field(column).type.value_type)).to_pylist())
    return found - {None}


def columns(folder: str) -> list[str]:
    """Return the columns that the index has; one of an older version may lack some."""
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names


def read_index_by_shard(folder: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the index, those of one shard at a time. Raises DataError when it is missing or damaged."""
    for rows in _by_shard(folder):
        yield rows.to_pylist()


def _by_shard(folder: str, columns: list[str] | None = None, shards: range | None = None) -> Iterator[pa.Table]:
    """Yield the rows of shards, one at a time, from a file that is opened once."""
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        table = pq.ParquetFile(file)
        for group in range(table.num_row_groups) if shards is None else shards:
            yield table.read_row_group(group, columns=columns)


def count_captions(folder: str, shards: range) -> Counter[str]:
    """Return {caption: times} of some shards, reading one shard's captions at a time."""
    import pyarrow.compute as pc

    counts = Counter[str]()
    for rows in _by_shard(folder, ["captions"], shards):
        counts.update(count_values(pc.list_flatten(rows["captions"])))
    return counts


def count_values(column: Any) -> dict[Any, int]:
    """Return {value: how often} of a column, without nulls."""
    import pyarrow.compute as pc

    counted = pc.value_counts(column)
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return {value: count for value, count in zip(values, counts, strict=True) if value is not None}


def read_rejects(folder: str) -> list[Reject]:
    """Return the clips that were asked for and are not in the shards, and why."""
    import pyarrow.parquet as pq

    with _table_file(folder, REJECTS) as file:
        return [Reject(**row) for row in pq.ParquetFile(file).read().to_pylist()]


@contextlib.contextmanager
def _table_file(folder: str, name: str) -> Iterator[Any]:
    """Open a table for reading; map what pyarrow raises in the block to DataError."""
    import pyarrow as pa

    path = storage.join(folder, name)
    try:
        if not storage.is_url(path):
            with pa.OSFile(path) as file:
                yield file
            return
        with storage.fetched(path, max_bytes=_FETCHED_BYTES) as copy:
            yield pa.PythonFile(copy, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run the build command again, it makes what is not there") from None
    except StorageError:
        # It could not be read: nothing is said of what is in it.
        raise
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {error}; remove it and run the build command again") from error


def _rejects_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("key", "split", "stage", "kind", "reason", "message")
    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in names])


# Columns whose values repeat: only these are worth a dictionary.
_REPEATED = ["split", "shard", "extension", "captions.list.element", "label", "meaning", "group", "num_frames", "fps", "height",
             "width", "channels", "time_base", "pts.list.element", "key_frames.list.element", "stage", "kind", "reason",
             "message"]  # fmt: skip


def _table_writer(file: Any, schema: pa.Schema) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=_REPEATED)


def _write_rows(table: Any, lines: bytes) -> None:
    """Write rows, lines of JSON, as one row group; nothing when there are none."""
    import pyarrow as pa
    import pyarrow.json as pj

    if not lines:
        return
    # Arrow's own JSON reader: from Python lists, pyarrow first imports pandas, which takes half a second.
    nullable = pa.schema([field.with_nullable(True) for field in table.schema])
    parsing = pj.ParseOptions(explicit_schema=nullable, unexpected_field_behavior="error")
    found = pj.read_json(pa.BufferReader(lines), pj.ReadOptions(block_size=len(lines) + 1), parsing)
    columns = [found[name] for name in table.schema.names]
    table.write_table(pa.Table.from_arrays(columns, schema=table.schema), row_group_size=len(found))
