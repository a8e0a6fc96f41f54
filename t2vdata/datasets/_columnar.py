"""Read tables of columns, parquet and feather (Arrow), in batches: durations as seconds, unreadable cells as such."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2vdata.datasets._cells import UnreadableCell
from t2vdata.datasets._text_files import check_columns, unreadable
from t2vdata.errors import RawDataError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 4096
# Rows with whole files in them are read a few at a time.
_BATCH_ROWS_WITH_FILES = 32
_TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns, in order. Raises RawDataError for a damaged file, and for a name that occurs twice."""
    names = tuple(_File(path).schema.names)
    check_columns(path, names)
    return names


def rows(path: Path, columns: Collection[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (number from 1, {column: value}) of each row. Raises RawDataError, with the row, where the file is damaged."""
    number = 0
    for batch in _File(path).batches(columns):
        values = [_values(batch.column(index)) for index in range(batch.num_columns)]
        for row in zip(*values, strict=True):
            number += 1
            yield number, dict(zip(batch.schema.names, row, strict=True))


class CellReader:
    """Reads single cells of a column, fast for rows in ascending order."""

    def __init__(self, path: Path, column: str) -> None:
        self._file = _File(path)
        self._column = column
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._first_row = 0

    def read(self, row: int) -> Any:
        """Return the cell of a row, counted from 1. Raises RawDataError if the file no longer has it."""
        index = row - 1
        if self._batch is None or index < self._first_row or index >= self._file.end_of_group(self._first_row):
            self._first_row, self._batches = self._file.batches_from(index, self._column)
            self._batch = next(self._batches, None)
        while self._batch is not None and index >= self._first_row + self._batch.num_rows:
            self._first_row += self._batch.num_rows
            self._batch = next(self._batches, None)
        if self._batch is None:
            raise RawDataError(f"{self._file.path} has no row {row}; it has changed during the build")
        return _value(self._batch.column(0)[index - self._first_row])


class _File:
    """An open file of columns; what pyarrow raises for its content becomes a RawDataError."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self._num_rows = 0
        self._is_parquet = path.suffix.lower() == ".parquet"
        if self._is_parquet:
            self._file = self._guarded(lambda: pq.ParquetFile(path, page_checksum_verification=True))
            self.schema: pa.Schema = self._file.schema_arrow
        else:
            self._file = self._guarded(lambda: pa.ipc.open_file(pa.memory_map(str(path))))
            self.schema = self._file.schema

        self._group_ends = list(itertools.accumulate(self._group_sizes()))

    def end_of_group(self, row: int) -> int:
        """Return the index of the first row after the row group, or Arrow batch, of a row."""
        return next((end for end in self._group_ends if row < end), 0)

    def batches_from(self, row: int, column: str) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Return the first row of the row group, or Arrow batch, of a row, and the batches from there on."""
        group = bisect.bisect_right(self._group_ends, row)
        return self._group_ends[group - 1] if group else 0, self.batches([column], first_group=group)

    def batches(self, columns: Collection[str], *, first_group: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, with only these columns."""
        import pyarrow as pa

        fields = [self.schema.field(name).type for name in columns]
        has_files = any(pa.types.is_struct(kind) or _is_binary(kind) for kind in fields)
        size = _BATCH_ROWS_WITH_FILES if has_files else _BATCH_ROWS
        batches = self._all_batches(list(columns), size, first_group)
        while (batch := self._guarded(lambda: next(batches, None))) is not None:
            self._num_rows += batch.num_rows
            yield batch

    def _all_batches(self, columns: list[str], size: int, first_group: int) -> Iterator[pa.RecordBatch]:
        if self._is_parquet:
            groups = list(range(first_group, len(self._group_ends)))
            yield from self._file.iter_batches(batch_size=size, columns=columns, row_groups=groups)
            return
        for index in range(first_group, self._file.num_record_batches):
            batch = self._file.get_batch(index)
            batch.validate(full=True)
            for start in range(0, batch.num_rows, size):
                yield batch.select(columns).slice(start, size)

    def _group_sizes(self) -> list[int]:
        if self._is_parquet:
            metadata = self._file.metadata
            return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        return [self._guarded(lambda: self._file.get_batch(index).num_rows) for index in range(self._file.num_record_batches)]  # noqa: B023

    def _guarded(self, read: Any) -> Any:
        """Return the result of ``read``. Raises RawDataError, with the row, for content that pyarrow cannot read."""
        import pyarrow as pa

        try:
            return read()
        except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(self.path, error) from None
            where = f", after row {self._num_rows}" if self._num_rows else ""
            problem = " ".join(str(error).split())[:200]
            raise RawDataError(f"{self.path}{where}: {problem}; the file is damaged, write it again") from None


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _values(column: pa.Array) -> list[Any]:
    """Return the cells of a column as Python values: durations of any unit as seconds."""
    import pyarrow as pa

    if pa.types.is_duration(column.type):
        ticks = _TICKS_PER_SECOND[column.type.unit]
        return [None if value is None else value / ticks for value in column.cast(pa.int64()).to_pylist()]
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        # A text that is not UTF-8, a date beyond the year 9999 ...: only that cell is lost.
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    import pyarrow as pa

    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        is_text = isinstance(scalar, pa.StringScalar | pa.LargeStringScalar)
        return scalar.as_buffer().to_pybytes() if is_text else UnreadableCell("a text that is not UTF-8")
    except (ValueError, OverflowError, pa.ArrowException):
        return UnreadableCell(f"a value of type {scalar.type} that cannot be read")
