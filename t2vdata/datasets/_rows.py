"""Read the rows of a table file: csv, tsv, jsonl, json, parquet or feather, each with the number that locates it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata.datasets import _text_files
from t2vdata.datasets._cells import shown
from t2vdata.errors import RawDataError, nearest

ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".feather")

Rows = Iterator[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True)
class Table:
    """A table file, read row by row."""

    path: Path
    columns: tuple[str, ...]
    """Column names in order; for jsonl, those of all rows, in the order in which they first occur."""
    unit: str
    """What ``rows`` counts: ``line`` or ``row``."""
    read: Callable[[Collection[str]], Rows]
    """Reads the rows, of which the named columns are needed."""

    def rows(self, columns: Collection[str | None]) -> Rows:
        """Yield (number, {column: value}), numbered from 1: by lines as an editor does, in columnar files by rows.

        Other columns than those named may be absent.
        """
        return self.read([column for column in columns if column is not None])

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
        return ", ".join(shown(name) for name in self.columns[:20]) + (" ..." if len(self.columns) > 20 else "")


def open_table(path: Path) -> Table:
    """Open a table file; its extension decides the format. Raises RawDataError, with the line, for unreadable content."""
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _csv_table(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        case ".jsonl" | ".ndjson":
            return _jsonl_table(path)
        case ".json":
            return _json_table(path)
        case ".parquet" | ".feather":
            from t2vdata.datasets import _columnar

            return Table(path, _columnar.column_names(path), "row", lambda columns: _columnar.rows(path, columns))
        case extension:
            raise RawDataError(
                f"--table {path}: expected a file that ends in {', '.join(ENDINGS)}, got {extension or 'no extension'}"
            )


def _csv_table(path: Path, delimiter: str) -> Table:
    records = _text_files.csv_records(path, delimiter=delimiter, strict=True, errors="strict")
    header = next(records, None)
    if header is None:
        raise RawDataError(f"{path} is empty; expected a line of column names, then one line per clip")
    names = tuple(name.strip() for name in header[1])
    _text_files.check_columns(path, names)

    def rows(_: Collection[str]) -> Rows:
        for number, fields in records:
            if len(fields) > len(names):
                raise RawDataError(
                    f"{path}, line {number}: {len(fields)} fields, but {len(names)} columns; "
                    f"put a text that contains {'a tab' if delimiter != ',' else 'a comma'} into double quotes"
                )
            yield number, dict(zip(names, fields, strict=False))

    return Table(path, names, "line", rows)


def _jsonl_table(path: Path) -> Table:
    names: dict[str, None] = {}
    for _, row in _jsonl_rows(path):
        names |= dict.fromkeys(row)
    if not names:
        raise RawDataError(f"{path} is empty; expected one JSON object per line")
    # Read twice: a column may first occur in the last row, and rows are not held in memory.
    return Table(path, tuple(names), "line", lambda _: _jsonl_rows(path))


def _jsonl_rows(path: Path) -> Rows:
    for number, line in enumerate(_text_files.lines(path), start=1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        row = _text_files.json_value(line, source, "expected one JSON object per line", object_pairs_hook=_Object)
        if not isinstance(row, dict):
            raise RawDataError(f"{source}: expected a JSON object, got {line.strip()[:40]!r}")
        if isinstance(row, _Object) and row.repeated is not None:
            raise RawDataError(f"{source}: two values of {shown(row.repeated)}; remove one")
        yield number, row


def _json_table(path: Path) -> Table:
    """Return the table of a file that is one list of objects, as pandas writes it with ``orient="records"``."""
    expected = "expected a list of JSON objects"
    try:
        rows = _text_files.json_value(path.read_bytes(), str(path), expected, object_pairs_hook=_Object)
    except OSError as error:
        raise _text_files.unreadable(path, error) from None
    if not isinstance(rows, list) or not rows:
        raise RawDataError(f"{path}: {expected}, got {shown(rows)}")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, _Object):
            raise RawDataError(f"{path}, row {number}: expected a JSON object, got {shown(row)}")
        if row.repeated is not None:
            raise RawDataError(f"{path}, row {number}: two values of {shown(row.repeated)}; remove one")
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(path, tuple(names), "row", lambda _: iter(enumerate(rows, start=1)))


class _Object(dict[str, Any]):
    """A JSON object that knows the first name that it has twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: str | None = None
        if len(self) < len(pairs):
            names = [name for name, _ in pairs]
            self.repeated = next(name for name in names if names.count(name) > 1)
