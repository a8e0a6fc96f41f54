"""The tables of a dataset folder: ``index.parquet``, a row per clip, and ``rejects.parquet``, a row per clip left out.

``table_reader`` reads them; no other module knows parquet. docs/format.md describes the columns for other readers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from t2vdata.format.columns import INDEX, REJECTS, index_schema, rejects_schema
from t2vdata.format.manifest import FileEntry, file_entry
from t2vdata.format.table_reader import (
    count_captions,
    count_values,
    distinct_values,
    index_columns,
    max_num_frames,
    num_index_shards,
    read_index,
    read_index_by_shard,
    read_index_in_parts,
    read_rejects,
)
from t2vdata.storage import Folder
from t2vdata.types import Reject

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "INDEX",
    "REJECTS",
    "TableWriter",
    "count_captions",
    "count_values",
    "distinct_values",
    "index_columns",
    "index_schema",
    "max_num_frames",
    "num_index_shards",
    "parquet_writer",
    "read_index",
    "read_index_by_shard",
    "read_index_in_parts",
    "read_rejects",
    "rejects_schema",
    "write_rejects",
]

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
            self._rejects_writer = self._table(REJECTS, rejects_schema())
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
    with folder.writing(REJECTS) as file, parquet_writer(file, rejects_schema()) as table:
        _write_rows(table, _reject_lines(rejects))


def _reject_lines(rejects: Sequence[Reject]) -> bytes:
    names = rejects_schema().names
    return "\n".join(json.dumps({name: getattr(reject, name) for name in names}) for reject in rejects).encode()


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
