"""Read annotation files as lines, csv records or JSON: what cannot be read is a RawDataError with the file and the line."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from t2vdata.errors import RawDataError
from t2vdata.text import captions

# A longer field is not a caption but an unclosed quote; as long as the longest item of a JSON file.
_MAX_FIELD_CHARS = 1 << 24
# {how a file begins that is often given another ending: what it is, and what to do}, bytes that are not UTF-8 as surrogates
_BINARY = {
    "\x1f\udc8b": "compressed by gzip; unpack it",
    "PK\x03\x04": "a zip archive; unpack it",
    "PAR1": "a parquet file; let its name end in .parquet",
    "ARROW1": "a feather file; let its name end in .feather",
    "(\udcb5/\udcfd": "compressed by zstd; unpack it",
}
_TOO_DEEP = "its values are nested too deeply"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises RawDataError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> RawDataError:
    """Return the error for a file that the operating system cannot read."""
    return RawDataError(f"cannot read {path}: {error.strerror or error}")


def lines(
    path: Path, *, newline: Literal["", "\n"] = "\n", errors: Literal["strict", "surrogateescape"] = "strict"
) -> Iterator[str]:
    """Yield the lines of a text file with their ends, without a byte order mark.

    Lines end at a newline; with ``newline=""``, as csv needs it, at a carriage return too. Raises RawDataError, with the line,
    if it is not UTF-8; with ``errors="surrogateescape"``, such bytes become surrogates, which spoil only their line.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and (why := _why_not_text(line)) is not None:
                    raise RawDataError(f"{path} is {why}")
                if errors == "strict" and not captions.is_unicode(line):
                    raise _not_utf8(path, number, line)
                yield line
    except OSError as error:
        raise unreadable(path, error) from None


def _why_not_text(first_line: str) -> str | None:
    """Return what a file is that begins with this line, and what to do, if it is no text."""
    if first_line.startswith(("\udcff\udcfe", "\udcfe\udcff")) or "\0" in first_line[:2]:
        return "UTF-16; save it as UTF-8"
    return next((kind for start, kind in _BINARY.items() if first_line.startswith(start)), None)


def _not_utf8(path: Path, number: int, line: str) -> RawDataError:
    data = line.encode("utf-8", "surrogateescape")
    bad_byte = next(ord(character) - 0xDC00 for character in line if "\udc80" <= character <= "\udcff")
    return RawDataError(
        f"{path}, line {number}: byte 0x{bad_byte:02x} is not UTF-8 (in Latin-1 the line reads "
        f"{data.decode('latin-1').strip()[:60]!r}); save the file as UTF-8"
    )


def csv_records(
    path: Path,
    *,
    delimiter: str = ",",
    strict: bool = False,
    errors: Literal["strict", "surrogateescape"] = "surrogateescape",
) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of every record of a csv file that is not blank. Raises RawDataError with the line.

    Fields of several lines are allowed only if ``strict``, which demands sound quotes: elsewhere such a field comes from a
    quote that was never closed, and would swallow the rows that follow.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)
    text_lines = lines(path, newline="", errors=errors)
    reader = csv.reader(text_lines, delimiter=delimiter, strict=strict, skipinitialspace=not strict)
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
        if not strict and reader.line_num > number:
            raise RawDataError(f"{path}, line {number}: a quoted field does not end in its line; close every quote")
        if any(field.strip() for field in fields):
            yield number, fields


def csv_fields(record: str) -> list[str]:
    """Return the fields of one record of a csv file; quotes need not be sound."""
    csv.field_size_limit(max(_MAX_FIELD_CHARS, len(record)))
    return next(csv.reader([record.replace("\r", " ")]), [])


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Raise RawDataError if two columns of a table have one name."""
    duplicate = next((name for name in names if name and names.count(name) > 1), None)
    if duplicate is not None:
        raise RawDataError(f"{path} has two columns {duplicate!r}; rename one")


def json_value(text: str | bytes, source: str, expected: str, *, object_pairs_hook: Any = None) -> Any:
    """Return the value of a JSON text. Raises RawDataError: ``source``, the problem, and what was ``expected``."""
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        bad_byte = error.object[error.start]
        raise RawDataError(f"{source}, line {line}: byte 0x{bad_byte:02x} is not UTF-8; save the file as UTF-8") from None
    except ValueError as error:
        raise RawDataError(f"{source}: {json_problem(error)}; {expected}") from None
    except RecursionError:
        raise RawDataError(f"{source}: {_TOO_DEEP}; {expected}") from None


def json_problem(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a JSON text that cannot be parsed."""
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    # Python refuses to convert integers of more digits, which no annotation has.
    return "an integer of thousands of digits" if "set_int_max_str_digits" in str(error) else str(error)
