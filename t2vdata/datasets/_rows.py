"""Rows of a table file: csv, tsv, jsonl or parquet, each with the number by which its reader finds it again."""

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
# A caption of a megabyte is a quote that was never closed.
_MAX_FIELD = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table file, read row by row."""

    path: Path
    columns: tuple[str, ...]
    """In their order; of jsonl, those of the first row."""
    unit: str
    """What its rows are counted in: ``line`` or ``row``."""
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    """(number, {column: value}); numbers count lines from 1 as an editor does, rows of parquet from 1."""

    def column(self, wanted: str | None, usual: Sequence[str], flag: str) -> str:
        """Return the column's name: the one wanted, or the first of the usual ones that is there.

        Raises RawDataError that names the columns there are, and the nearest.
        """
        found = self.optional(wanted, usual, flag)
        if found is not None:
            return found
        hint = f"say which with {flag} NAME"
        if len(self.columns) == 1 and (other := next((mark for mark in ";\t|" if mark in self.columns[0]), None)):
            kind = {";": "semicolons", "\t": "tabs (name it .tsv)", "|": "bars"}[other]
            hint = f"its fields seem to be separated by {kind}; expected commas"
        raise RawDataError(f"{self.path} has none of the columns {', '.join(usual)}; there is {self._shown()}: {hint}")

    def optional(self, wanted: str | None, usual: Sequence[str], flag: str) -> str | None:
        """Return the column's name, or None when none is wanted by name and none of the usual ones is there."""
        if wanted is None:
            return next((name for name in usual if name in self.columns), None)
        if wanted in self.columns:
            return wanted
        close = nearest(wanted, self.columns)
        hint = f"did you mean {close!r}" if close else f"there is {self._shown()}"
        raise RawDataError(f"{self.path} has no column {wanted!r} ({flag}); {hint}" + (f" of {self._shown()}" if close else ""))

    def _shown(self) -> str:
        return ", ".join(map(repr, self.columns[:20])) + (" ..." if len(self.columns) > 20 else "")


def read(path: Path) -> Table:
    """Open a table file by its ending. Raises RawDataError with the line for what cannot be read."""
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _csv(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        case ".jsonl" | ".ndjson":
            return _jsonl(path)
        case ".parquet":
            return _parquet(path)
        case ending:
            raise RawDataError(
                f"--table {path}: expected a file that ends in {', '.join(ENDINGS)}, got {ending or 'no ending'}"
            )


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, without a byte order mark. Raises RawDataError where it is not UTF-8."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise RawDataError(f"{path} is UTF-16; save it as UTF-8")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad, text = line[error.start], line.decode("latin-1").strip()
                raise RawDataError(
                    f"{path}, line {number}: byte 0x{bad:02x} is not UTF-8 (in Latin-1 the line reads {text[:60]!r}); "
                    "save the file as UTF-8"
                ) from None


def _csv(path: Path, delimiter: str) -> Table:
    csv.field_size_limit(_MAX_FIELD)
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header = next(_fields(path, reader), None)
    if header is None:
        raise RawDataError(f"{path} is empty; expected a line of column names, then a line for each clip")
    names = tuple(name.strip() for name in header[1])
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise RawDataError(f"{path} has two columns {double!r}; rename one")

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, fields in _fields(path, reader):
            if len(fields) > len(names):
                raise RawDataError(
                    f"{path}, line {number}: {len(fields)} fields, but {len(names)} columns; "
                    f"put a text with {'a tab' if delimiter != ',' else 'a comma'} in it into double quotes"
                )
            yield number, dict(zip(names, fields, strict=False))

    return Table(path, names, "line", rows())


def _fields(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield (line at which it begins, fields) of the rows that hold something."""
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RawDataError(
                f"{path}, line {number}: {error}; a double quote within a quoted text is written twice, and every one is closed"
            ) from None
        if fields is None:
            return
        if any(field.strip() for field in fields):
            yield number, fields


def _jsonl(path: Path) -> Table:
    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RawDataError(f"{path}, line {number}: {error}; expected one JSON object a line") from None
            if not isinstance(row, dict):
                raise RawDataError(f"{path}, line {number}: expected a JSON object, got {line.strip()[:40]!r}")
            yield number, row

    first = next(rows(), None)
    if first is None:
        raise RawDataError(f"{path} is empty; expected one JSON object a line")
    return Table(path, tuple(first[1]), "line", rows())


def _parquet(path: Path) -> Table:
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
