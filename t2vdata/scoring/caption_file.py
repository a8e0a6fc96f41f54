"""Read the captions of clips: one per line of a text file, or a csv or jsonl file that names the file of each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata.errors import RequestError

_FILE, _CAPTION = ("file", "path", "video", "name"), ("caption", "text")


@dataclass(frozen=True)
class CaptionFile:
    """Captions, and the file of each if the list names files."""

    path: Path
    captions: list[str]
    files: list[str] | None
    lines: list[int]
    """The line of each caption, from 1."""


def read(path: Path) -> CaptionFile:
    """Return the captions in a file. Raises RequestError, with the line, for content that cannot be used."""
    if not path.is_file():
        raise RequestError(f"no file {path} (--captions)")
    ending = path.suffix.lower()
    if ending not in (".txt", ".csv", ".jsonl"):
        raise RequestError(
            f"--captions {path}: expected .txt with one caption per line, or .csv or .jsonl with files and captions"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RequestError(f"--captions {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RequestError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    if ending == ".txt":
        # A caption ends at a newline only: str.splitlines knows ten more characters.
        numbered = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        return CaptionFile(path, [line for _, line in numbered], None, [number for number, _ in numbered])
    rows = list(_csv_rows(path, text) if ending == ".csv" else _json_rows(path, text))
    return _of_rows(path, rows)


def _of_rows(path: Path, rows: list[tuple[int, Mapping[str, Any]]]) -> CaptionFile:
    # Over all rows, because rows of jsonl may have different names.
    columns = dict.fromkeys(name for _, row in rows for name in row)
    file_column, caption_column = (next((name for name in names if name in columns), None) for names in (_FILE, _CAPTION))
    if file_column is None or caption_column is None:
        header = ", ".join(map(repr, columns)) or "nothing"
        raise RequestError(f"--captions {path}: expected the columns file and caption; found {header}")
    files, captions, line_of = [], [], dict[str, int]()
    for line, row in rows:
        for column in (file_column, caption_column):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise RequestError(f"{path}, line {line}: {column} is {row.get(column)!r}; expected text")
        if row[file_column] in line_of:
            first = line_of[row[file_column]]
            raise RequestError(f"{path}, line {line}: {row[file_column]!r} is named on line {first} too; expected one caption")
        line_of[row[file_column]] = line
        files.append(row[file_column])
        captions.append(row[caption_column].strip())
    return CaptionFile(path, captions, files, list(line_of.values()))


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise RequestError(f"{path}, line {line}: {error}; close every quote, and write one in a text twice") from error
        if fields is None:
            return
        if not any(field.strip() for field in fields):
            continue
        if header is None:
            header = [name.strip() for name in fields]
        elif len(fields) != len(header):
            raise RequestError(
                f"{path}, line {line}: {len(fields)} fields, but {len(header)} columns; put a text with a comma into quotes"
            )
        else:
            yield line, dict(zip(header, fields, strict=True))


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{path}, line {number}: {error}; expected one JSON object per line") from error
        if not isinstance(row, dict):
            raise RequestError(f"{path}, line {number}: expected a JSON object, got {line.strip()[:40]!r}")
        yield number, row
