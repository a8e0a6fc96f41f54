"""Read the rows of a table file: csv, tsv, jsonl or parquet, each with the number that locates it in the file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata.errors import RawDataError, nearest

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
# A field of over a megabyte is not a caption but an unclosed quote.
_MAX_FIELD_CHARS = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table file, read row by row."""

    path: Path
    columns: tuple[str, ...]
    """Column names in order; for jsonl, those of the first row."""
    unit: str
    """What ``rows`` counts: ``line`` or ``row``."""
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    """(number, {column: value}), numbered from 1: by lines as an editor does, for parquet by rows."""

    def required_column(self, requested: str | None, candidates: Sequence[str], flag: str) -> str:
        """Return the requested column, or the first of the candidates that exists.

        Raises RawDataError with the existing columns, and the nearest to the requested one.
        """
        column = self.optional_column(requested, candidates, flag)
        if column is not None:
            return column
        hint = f"name the column with {flag} NAME"
        if len(self.columns) == 1 and (other := next((mark for mark in ";\t|" if mark in self.columns[0]), None)):
            kind = {";": "semicolons", "\t": "tabs (name it .tsv)", "|": "bars"}[other]
            hint = f"its fields seem to be separated by {kind}; expected commas"
        raise RawDataError(f"{self.path} has none of the columns {', '.join(candidates)}; it has {self._column_list()}: {hint}")

    def optional_column(self, requested: str | None, candidates: Sequence[str], flag: str) -> str | None:
        """Return the requested column, or the first of the candidates that exists, or None.

        Raises RawDataError if the requested column does not exist.
        """
        if requested is None:
            return next((name for name in candidates if name in self.columns), None)
        if requested in self.columns:
            return requested
        close = nearest(requested, self.columns)
        hint = f"did you mean {close!r} of {self._column_list()}" if close else f"it has {self._column_list()}"
        raise RawDataError(f"{self.path} has no column {requested!r} ({flag}); {hint}")

    def _column_list(self) -> str:
        return ", ".join(map(repr, self.columns[:20])) + (" ..." if len(self.columns) > 20 else "")


def open_table(path: Path) -> Table:
    """Open a table file; its extension decides the format. Raises RawDataError, with the line, for unreadable content."""
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _csv_table(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        case ".jsonl" | ".ndjson":
            return _jsonl_table(path)
        case ".parquet":
            return _parquet_table(path)
        case extension:
            raise RawDataError(
                f"--table {path}: expected a file that ends in {', '.join(ENDINGS)}, got {extension or 'no extension'}"
            )


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, without a byte order mark. Raises RawDataError, with the line, if it is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise RawDataError(f"{path} is UTF-16; save it as UTF-8")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad_byte, text = line[error.start], line.decode("latin-1").strip()
                raise RawDataError(
                    f"{path}, line {number}: byte 0x{bad_byte:02x} is not UTF-8 (in Latin-1 the line reads {text[:60]!r}); "
                    "save the file as UTF-8"
                ) from None


def _csv_table(path: Path, delimiter: str) -> Table:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header = next(_fields(path, reader), None)
    if header is None:
        raise RawDataError(f"{path} is empty; expected a line of column names, then one line per clip")
    names = tuple(name.strip() for name in header[1])
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise RawDataError(f"{path} has two columns {duplicate!r}; rename one")

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, fields in _fields(path, reader):
            if len(fields) > len(names):
                raise RawDataError(
                    f"{path}, line {number}: {len(fields)} fields, but {len(names)} columns; "
                    f"put a text that contains {'a tab' if delimiter != ',' else 'a comma'} into double quotes"
                )
            yield number, dict(zip(names, fields, strict=False))

    return Table(path, names, "line", rows())


def _fields(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of every row that is not empty."""
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RawDataError(
                f"{path}, line {number}: {error}; write a double quote within a quoted text twice, and close every quote"
            ) from None
        if fields is None:
            return
        if any(field.strip() for field in fields):
            yield number, fields


def _jsonl_table(path: Path) -> Table:
    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RawDataError(f"{path}, line {number}: {error}; expected one JSON object per line") from None
            if not isinstance(row, dict):
                raise RawDataError(f"{path}, line {number}: expected a JSON object, got {line.strip()[:40]!r}")
            yield number, row

    first = next(rows(), None)
    if first is None:
        raise RawDataError(f"{path} is empty; expected one JSON object per line")
    return Table(path, tuple(first[1]), "line", rows())


def _parquet_table(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise RawDataError(f"{path}: {error}") from None

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        number = 0
        for batch in file.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                number += 1
                yield number, row

    return Table(path, tuple(map(sys.intern, file.schema_arrow.names)), "row", rows())
