"""The tables of a dataset folder: ``index.parquet``, a row per clip, and ``rejects.parquet``, a row per clip left out.

The only module that reads or writes parquet in a dataset. docs/format.md describes the columns for other readers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t2vdata import storage
from t2vdata.errors import DataError, StorageError
from t2vdata.format.manifest import FileEntry, file_entry
from t2vdata.storage import Folder
from t2vdata.types import Reject

if TYPE_CHECKING:
    import pyarrow as pa

INDEX, REJECTS = "index.parquet", "rejects.parquet"

# Tables up to this size are downloaded whole: reading row groups remotely takes a thousand small requests, which is slower.
_MAX_DOWNLOAD_BYTES = 1 << 30
# Row groups read together: enough to use all cores, few enough to fit in memory.
_SHARDS_AT_ONCE = 16

# Columns of the index without nulls; the others may have them.
_REQUIRED = ("key", "split", "shard", "sha256", "extension", "pixels_offset", "pixels_size", "txt_offset", "txt_size",
             "json_offset", "json_size", "captions", "num_frames", "fps", "height", "width", "channels")  # fmt: skip


# Columns with repeated values. Only these benefit from dictionary encoding.
_REPEATED = ["split", "shard", "extension", "captions.list.element", "label", "meaning", "group", "num_frames", "fps", "height",
             "width", "channels", "time_base", "pts.list.element", "key_frames.list.element", "stage", "kind", "reason",
             "message"]  # fmt: skip


class TableWriter:
    """Writes the index and the rejects of a build, shard by shard. Both files appear when the block ends without an error.

    >>> with TableWriter(folder) as writer:
    ...     writer.add(rows, rejects)
    >>> writer.files
    """

    def __init__(self, folder: Folder, *, rejects_per_group: int = 100_000) -> None:
        self._folder = folder
        self._rejects_per_group = rejects_per_group
        self._stack = contextlib.ExitStack()
        self._writer: Any = None
        self._rejects_writer: Any = None
        self._rejects: list[Reject] = []
        self.files: tuple[FileEntry, ...] = ()
        """The written files; set when the block ends."""
        # Importing pyarrow takes longer than building a small shard: it runs in a thread while workers start.
        self._import = threading.Thread(target=importlib.import_module, args=("pyarrow.parquet",), daemon=True)

    def __enter__(self) -> TableWriter:
        self._import.start()
        return self

    def add(self, rows: bytes, rejects: Iterable[Reject]) -> None:
        """Add the rows of a shard, one line of JSON each, and its rejected clips."""
        self._rejects.extend(rejects)
        if len(self._rejects) >= self._rejects_per_group:
            self._write_rejects()
        _write_rows(self._open(), rows)

    def copy(self, folder: Folder, shard: int) -> None:
        """Copy the rows of shard number ``shard`` from the index of another folder."""
        writer = self._open()
        rows = folder.retry(lambda: read_index(folder.url, shards=range(shard, shard + 1)))
        # An index of an older version lacks columns; new columns may be null.
        for position, column in enumerate(writer.schema):
            if column.name not in rows.column_names:
                rows = rows.add_column(position, column, _nulls(len(rows), column.type))
        writer.write_table(rows)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._import.join()
        if error is not None:
            # Passing on the error makes the open files discard what was written.
            self._stack.__exit__(kind, error, trace)
            return
        self._open()
        self._write_rejects()
        self._stack.close()
        self.files = (file_entry(self._folder, INDEX), file_entry(self._folder, REJECTS))

    def _open(self) -> Any:
        if self._writer is None:
            self._import.join()
            # The rejects are opened first, so they are renamed last.
            self._rejects_writer = self._table(REJECTS, _rejects_schema())
            self._writer = self._table(INDEX, index_schema())
        return self._writer

    def _table(self, name: str, schema: pa.Schema) -> Any:
        file = self._stack.enter_context(self._folder.writing(name))
        return self._stack.enter_context(parquet_writer(file, schema))

    def _write_rejects(self) -> None:
        self._open()
        _write_rows(self._rejects_writer, _reject_lines(self._rejects))
        self._rejects.clear()


def write_rejects(folder: Folder, rejects: Sequence[Reject]) -> None:
    """Write rejects.parquet alone, for a build that stops early because too many clips failed."""
    with folder.writing(REJECTS) as file, parquet_writer(file, _rejects_schema()) as table:
        _write_rows(table, _reject_lines(rejects))


def _reject_lines(rejects: Sequence[Reject]) -> bytes:
    names = _rejects_schema().names
    return "\n".join(json.dumps({name: getattr(reject, name) for name in names}) for reject in rejects).encode()


def index_schema() -> pa.Schema:
    """Return the schema of index.parquet; docs/format.md explains each column."""
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
    """Read columns of the index, for some shards (see ``Manifest.shard_range``) or all, in the order of the index.

    Raises DataError if the index is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        table = pq.ParquetFile(file)
        # Each shard is a row group. Filtering by shard name instead would make pyarrow import pandas.
        groups = range(table.num_row_groups) if shards is None else shards
        return table.read_row_groups(list(groups), columns=None if columns is None else list(columns))


def read_index_in_parts(folder: str, columns: Sequence[str], *, shards: range) -> Iterator[pa.Table]:
    """Yield what ``read_index`` returns, a few shards at a time, so that the rows need not fit in memory at once.

    Raises DataError if the index is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        # Without pre-buffering, which keeps everything it has read until the end.
        table = pq.ParquetFile(file, pre_buffer=False)
        for first in range(0, len(shards), _SHARDS_AT_ONCE):
            yield table.read_row_groups(list(shards[first : first + _SHARDS_AT_ONCE]), columns=list(columns), use_threads=False)
            # Otherwise the memory of one part is kept while the next is read.
            pa.default_memory_pool().release_unused()


def distinct_values(folder: str, column: str, *, outside: range) -> set[Any]:
    """Return the distinct values of a column, without null, over the shards not in ``outside``. Raises DataError as above."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    values: set[Any] = set()
    with _table_file(folder, INDEX) as file:
        # Repeated values are dictionary-encoded in the file already.
        table = pq.ParquetFile(file, pre_buffer=False, read_dictionary=[column])
        groups = [group for group in range(table.num_row_groups) if group not in outside]
        for first in range(0, len(groups), _SHARDS_AT_ONCE):
            rows = table.read_row_groups(groups[first : first + _SHARDS_AT_ONCE], columns=[column])
            values.update(pc.unique(rows[column].cast(table.schema_arrow.field(column).type.value_type)).to_pylist())
    return values - {None}


def index_columns(folder: str) -> list[str]:
    """Return the names of the index's columns; an index of an older version may lack some."""
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names


def read_index_by_shard(folder: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the index, one shard at a time. Raises DataError if it is missing or damaged."""
    for rows in _by_shard(folder):
        yield rows.to_pylist()


def _by_shard(folder: str, columns: list[str] | None = None, shards: range | None = None) -> Iterator[pa.Table]:
    """Yield the rows of each shard, opening the file once."""
    import pyarrow.parquet as pq

    with _table_file(folder, INDEX) as file:
        table = pq.ParquetFile(file)
        for group in range(table.num_row_groups) if shards is None else shards:
            yield table.read_row_group(group, columns=columns)


def count_captions(folder: str, shards: range) -> Counter[str]:
    """Return {caption: count} over some shards, reading one shard at a time."""
    import pyarrow.compute as pc

    counts = Counter[str]()
    for rows in _by_shard(folder, ["captions"], shards):
        counts.update(count_values(pc.list_flatten(rows["captions"])))
    return counts


def count_values(column: Any) -> dict[Any, int]:
    """Return {value: count} of a column, without nulls."""
    import pyarrow.compute as pc

    counted = pc.value_counts(column)
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return {value: count for value, count in zip(values, counts, strict=True) if value is not None}


def read_rejects(folder: str) -> list[Reject]:
    """Return the requested clips that are not in the shards, with reasons."""
    import pyarrow.parquet as pq

    with _table_file(folder, REJECTS) as file:
        return [Reject(**row) for row in pq.ParquetFile(file).read().to_pylist()]


@contextlib.contextmanager
def _table_file(folder: str, name: str) -> Iterator[Any]:
    """Open a table for reading; errors of pyarrow in the block become DataError."""
    import pyarrow as pa

    path = storage.join(folder, name)
    try:
        if not storage.is_url(path):
            # Arrow would wait at a pipe for its writer.
            with storage.reading(path), storage.open_regular(path):
                pass
            with pa.OSFile(path) as file:
                yield file
            return
        with storage.fetched(path, max_bytes=_MAX_DOWNLOAD_BYTES) as copy:
            yield pa.PythonFile(copy, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run the build command again to restore it") from None
    except StorageError:
        # The storage failed, which says nothing about the content.
        raise
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {error}; remove it and run the build command again") from error


def _rejects_schema() -> pa.Schema:
    import pyarrow as pa

    names = ("key", "split", "stage", "kind", "reason", "message")
    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in names])


def parquet_writer(file: Any, schema: pa.Schema) -> Any:
    """Return a ``pyarrow.parquet.ParquetWriter`` with the settings of the tables of a dataset."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=_REPEATED)


def _write_rows(table: Any, lines: bytes) -> None:
    """Write lines of JSON as one row group, or nothing if there are none."""
    import pyarrow as pa
    import pyarrow.json as pj

    if not lines:
        return
    # Arrow's JSON reader: converting Python lists makes pyarrow import pandas, which takes half a second.
    nullable = pa.schema([field.with_nullable(True) for field in table.schema])
    parse_options = pj.ParseOptions(explicit_schema=nullable, unexpected_field_behavior="error")
    rows = pj.read_json(pa.BufferReader(lines), pj.ReadOptions(block_size=len(lines) + 1), parse_options)
    columns = [rows[name] for name in table.schema.names]
    table.write_table(pa.Table.from_arrays(columns, schema=table.schema), row_group_size=len(rows))


def _nulls(count: int, kind: Any) -> Any:
    import pyarrow as pa

    return pa.nulls(count, kind)
