"""Read the tables of a dataset folder, a shard or all of it, and check what is read (see ``index_check``).

What is not as expected raises DataError, a file that cannot be read StorageError; both name the file.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2vdata import storage
from t2vdata.errors import DataError, StorageError
from t2vdata.format import index_check
from t2vdata.format.columns import INDEX, REJECTS, REQUIRED, index_schema, rejects_schema
from t2vdata.format.manifest import ShardEntry
from t2vdata.format.schema import SchemaError
from t2vdata.types import Reject

if TYPE_CHECKING:
    import pyarrow as pa

# Tables up to this size are downloaded whole: reading row groups remotely takes a thousand small requests, which is slower.
_MAX_DOWNLOAD_BYTES = 1 << 30
# Row groups read together: enough to use all cores, few enough to fit in memory.
_SHARDS_AT_ONCE = 16
# Rejects: as many as a build of a hundred million clips may have.
_MAX_REJECTS = 100_000_000


@dataclass(frozen=True)
class _IndexFile:
    """An open index: reads rows of its shards, each a row group."""

    file: Any
    num_bytes: int

    def read(
        self,
        columns: Sequence[str] | None,
        shards: Sequence[int],
        entries: Sequence[ShardEntry] | None,
        *,
        read_ahead: bool = True,
    ) -> pa.Table:
        """Return the rows of some shards. With their ``entries`` in the manifest, counts and values are compared with those."""
        import pyarrow.parquet as pq

        table = pq.ParquetFile(self.file, pre_buffer=read_ahead)
        own, expected = table.schema_arrow, index_schema()
        names = [name for name in expected.names if name in own.names] if columns is None else list(columns)
        index_check.check_columns(own, expected, REQUIRED if columns is None else [*names, "shard"])
        index_check.check_footer(table.metadata, self.num_bytes, shards, entries)
        coded = index_check.columns_to_read_as_dictionaries(table.metadata, shards)
        read_columns = list(dict.fromkeys([*names, "shard"]))
        if coded:
            rows = self._read_coded(coded, read_columns, shards)
        else:
            rows = table.read_row_groups(list(shards), columns=read_columns, use_threads=read_ahead)
        # Text that is not UTF-8 is found here, not when it is used.
        rows.validate(full=True)
        if entries is not None:
            index_check.check_rows(rows, entries, REQUIRED)
        return rows.select(names)

    def _read_coded(self, coded: list[str], columns: list[str], shards: Sequence[int]) -> pa.Table:
        """Read some columns as dictionaries, and write their values out if they are not too long."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.ParquetFile(self.file, pre_buffer=False, read_dictionary=coded)
        # One at a time: pyarrow cannot join lists of texts with different dictionaries.
        parts = [table.read_row_group(shard, columns=columns, use_threads=False) for shard in shards]
        return pa.concat_tables(index_check.plain_text(part, index_schema()) for part in parts)


def read_index(
    folder: str,
    columns: Sequence[str] | None = None,
    *,
    shards: range | None = None,
    entries: Sequence[ShardEntry] | None = None,
) -> pa.Table:
    """Read columns of the index, for some shards (see ``Manifest.shard_range``) or all, in the order of the index.

    ``entries`` are the manifest's entries of those shards: counts, names and values are checked against them. Raises DataError
    if the index is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _open_index(folder) as index:
        if shards is None:
            shards = range(len(entries) if entries is not None else pq.ParquetFile(index.file).num_row_groups)
        return index.read(columns, shards, entries)


def read_index_in_parts(
    folder: str, columns: Sequence[str], *, shards: range, entries: Sequence[ShardEntry]
) -> Iterator[pa.Table]:
    """Yield what ``read_index`` returns, a few shards at a time, so that the rows need not fit in memory at once.

    Raises DataError if the index is missing or damaged.
    """
    import pyarrow as pa

    with _open_index(folder) as index:
        for first in range(0, len(shards), _SHARDS_AT_ONCE):
            part = slice(first, first + _SHARDS_AT_ONCE)
            # Without pre-buffering, which keeps everything it has read until the end.
            yield index.read(columns, shards[part], entries[part], read_ahead=False)
            # Otherwise the memory of one part is kept while the next is read.
            pa.default_memory_pool().release_unused()


def distinct_values(folder: str, column: str, *, outside: range) -> set[Any]:
    """Return the distinct values of a column of text, without null, over the shards not in ``outside``. Raises DataError."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    values: set[Any] = set()
    with _open_index(folder) as index:
        # Repeated values are dictionary-encoded in the file already.
        table = pq.ParquetFile(index.file, pre_buffer=False, read_dictionary=[column])
        index_check.check_columns(pq.ParquetFile(index.file).schema_arrow, index_schema(), [column])
        groups = [group for group in range(table.num_row_groups) if group not in outside]
        index_check.check_footer(table.metadata, index.num_bytes, groups, None)
        for first in range(0, len(groups), _SHARDS_AT_ONCE):
            rows = table.read_row_groups(groups[first : first + _SHARDS_AT_ONCE], columns=[column])
            for chunk in rows[column].chunks:
                chunk.dictionary.validate(full=True)
                values.update(pc.unique(chunk).to_pylist())
    return values - {None}


def index_columns(folder: str) -> list[str]:
    """Return the names of the index's columns; an index of an older version may lack some."""
    import pyarrow.parquet as pq

    with _open_index(folder) as index:
        names: list[str] = pq.ParquetFile(index.file).schema_arrow.names
    return names


def read_index_by_shard(folder: str, entries: Sequence[ShardEntry]) -> Iterator[list[dict[str, Any]] | DataError]:
    """Yield the rows of the index, one shard at a time, or what is wrong with them.

    Raises DataError if the index is missing, or damaged for all shards.
    """
    with _open_index(folder) as index:
        for shard, entry in enumerate(entries):
            try:
                rows = index.read(None, [shard], [entry]).to_pylist()
            except SchemaError as error:
                yield DataError(f"{storage.join(folder, INDEX)} is damaged: {error}")
            else:
                yield rows


def num_index_shards(folder: str) -> int:
    """Return the number of shards whose rows the index has."""
    import pyarrow.parquet as pq

    with _open_index(folder) as index:
        return int(pq.ParquetFile(index.file).num_row_groups)


def max_num_frames(folder: str) -> int:
    """Return the number of frames of the longest clip."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    longest = 0
    with _open_index(folder) as index:
        table = pq.ParquetFile(index.file)
        for group in range(table.num_row_groups):
            longest = max(longest, pc.max(table.read_row_group(group, columns=["num_frames"])["num_frames"]).as_py() or 0)
    return longest


def count_captions(folder: str, shards: range, entries: Sequence[ShardEntry]) -> Counter[str]:
    """Return {caption: count} over some shards, reading one shard at a time."""
    import pyarrow.compute as pc

    counts = Counter[str]()
    with _open_index(folder) as index:
        for shard, entry in zip(shards, entries, strict=True):
            rows = index.read(["captions"], [shard], [entry])
            counts.update(count_values(pc.list_flatten(rows["captions"])))
    return counts


def count_values(column: Any) -> dict[Any, int]:
    """Return {value: count} of a column, without nulls."""
    import pyarrow.compute as pc

    counted = pc.value_counts(column)
    values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return {value: count for value, count in zip(values, counts, strict=True) if value is not None}


def read_rejects(folder: str, *, max_rows: int = _MAX_REJECTS) -> list[Reject]:
    """Return the requested clips that are not in the shards, with reasons. ``max_rows`` is how many the manifest counts."""
    import pyarrow.parquet as pq

    with _table_file(folder, REJECTS) as file:
        table = pq.ParquetFile(file)
        expected = rejects_schema()
        index_check.check_columns(table.schema_arrow, expected, expected.names)
        index_check.check_rejects_footer(table.metadata, max_rows)
        coded = index_check.columns_to_read_as_dictionaries(table.metadata, range(table.num_row_groups))
        rows = pq.ParquetFile(file, read_dictionary=coded).read(columns=expected.names)
        rows = index_check.plain_text(rows, expected)
        rows.validate(full=True)
        index_check.check_rejects(rows)
        return [Reject(**row) for row in rows.to_pylist()]


@contextlib.contextmanager
def _open_index(folder: str) -> Iterator[_IndexFile]:
    with _table_file(folder, INDEX) as file:
        yield _IndexFile(file, file.size())


@contextlib.contextmanager
def _table_file(folder: str, name: str) -> Iterator[Any]:
    """Open a table for reading; errors of pyarrow in the block become DataError."""
    import pyarrow as pa

    path = storage.join(folder, name)
    try:
        if not storage.is_url(path):
            storage.check_regular(path)
            with pa.OSFile(os.fsencode(path)) as file:
                yield file
            return
        with storage.fetched(path, max_bytes=_MAX_DOWNLOAD_BYTES) as copy:
            yield pa.PythonFile(copy, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run the build command again to restore it") from None
    except StorageError:
        # The storage failed, which says nothing about the content.
        raise
    except SchemaError as error:
        raise DataError(f"{path} is damaged: {error}; check with `t2vdata verify {shlex.quote(folder)}`") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # The system's error, with a number; those of pyarrow have none.
            raise StorageError(f"cannot read {path}: {os.strerror(error.errno)}") from error
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is damaged: {reason}; remove it and run the build command again") from error
