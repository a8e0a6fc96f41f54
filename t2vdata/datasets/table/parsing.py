"""Read the clips that a user's table describes, with the line that describes each."""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from t2vdata import storage
from t2vdata.datasets import _cells, _rows
from t2vdata.datasets._cells import CellError
from t2vdata.datasets.splits import SPLIT_NAMES
from t2vdata.datasets.table.files import Files, NamedFile
from t2vdata.errors import RawDataError
from t2vdata.types import MediaRef

# Usual names of columns; the first that exists is used.
USUAL_COLUMNS = {
    "path": ("path", "video", "image", "file", "filename", "file_name", "media", "url"),
    "caption": ("caption", "captions", "text", "sentence", "description"),
    "start": ("start", "start_seconds", "start_time"),
    "end": ("end", "end_seconds", "end_time"),
    "label": ("label",),
    "group": ("group",),
    "split": ("split",),
    "key": ("key",),
}


class ClipFields(NamedTuple):
    """What a row may state about its clip besides its media file and captions."""

    label: str | None = None
    group: str | None = None
    split: str | None = None
    key: str | None = None


@dataclass(slots=True)
class Entry:
    """A clip as its rows describe it."""

    file: NamedFile | None
    """None if its row names no file."""
    span: tuple[float | None, float | None]
    """Start and end in seconds; None is the start or end of the file."""
    source: str
    """Where the clip is described: ``clips.csv, line 7``."""
    captions: list[str] = field(default_factory=list)
    fields: ClipFields = field(default_factory=lambda: ClipFields())
    reject_reason: str | None = None
    """Why the clip cannot be used, or None."""
    group: str = ""
    split: str = ""
    """Set by ``assign_groups`` and ``assign_splits``."""

    @property
    def media(self) -> str:
        """Path or URL as in the table; empty if the row has none."""
        return "" if self.file is None else self.file.name

    @property
    def identity(self) -> Hashable:
        """Which file it is, whatever its row calls it."""
        return None if self.file is None else self.file.identity

    @property
    def is_embedded(self) -> bool:
        """Whether the table itself has the bytes of the file."""
        return self.file is not None and self.file.row is not None

    @property
    def ref(self) -> MediaRef | None:
        """Where the media file is."""
        if self.file is None:
            return None
        return MediaRef(self.file.path, self.file.name, self.file.size_bytes, row=self.file.row)


def table_entries(path: Path, requested_columns: Mapping[str, str | None], files: Files) -> Iterator[Entry]:
    """Yield the clips of a table. Raises RawDataError, with the line, for invalid content.

    ``requested_columns`` has the user's choice of column, or None, for each key of USUAL_COLUMNS.
    """
    table = _rows.open_table(path)
    columns = choose_columns(table, requested_columns)
    entries: dict[object, Entry] = {}
    for number, row in table.rows(columns.values()):
        values = {name: None if column is None else row.get(column) for name, column in columns.items()}
        entry = _RowParser(columns, values, f"{path.name}, {table.unit} {number}", number, files).entry()
        # An unusable row is a clip of its own, so that it is counted.
        is_alone = entry.reject_reason is not None or entry.file is None
        identity: object = number if is_alone else (entry.identity, entry.span, entry.fields.key)
        first = entries.setdefault(identity, entry)
        if first is not entry:
            _merge(first, entry)
    yield from entries.values()


def choose_columns(table: _rows.Table, requested: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the column of the table for each key of USUAL_COLUMNS. Raises RawDataError if one is missing."""
    columns: dict[str, str | None] = {}
    for name, candidates in USUAL_COLUMNS.items():
        choose = table.required_column if name in ("path", "caption") else table.optional_column
        columns[name] = choose(requested[name], candidates, f"--{name}-column")
    return columns


def file_name(url: str) -> str:
    """Return the name of the file at a URL, without the query of a signed one."""
    return re.sub(r"[?#].*", "", url).rsplit("/", 1)[-1]


def folder_of(table: str) -> str:
    """Return the folder of a table, a path or a URL."""
    return table.rsplit("/", 1)[0] if storage.is_url(table) else str(Path(table).parent)


@dataclass
class _RowParser:
    """Turns the cells of a row into an entry; the first cell that cannot be used is the row's reason."""

    columns: Mapping[str, str | None]
    values: Mapping[str, Any]
    source: str
    number: int
    files: Files
    reject_reason: str | None = None

    def entry(self) -> Entry:
        file = self._cell("path", self._file, None)
        if file is None:
            self.reject_reason = self.reject_reason or "no path"
        span = self._span()
        texts = self._cell("caption", _cells.texts, [])
        names = (self._cell(name, _cells.name, "") for name in ClipFields._fields)
        fields = ClipFields(*(sys.intern(text) or None for text in names))
        if fields.split is not None:
            split = SPLIT_NAMES.get(fields.split.lower())
            if split is None:
                raise RawDataError(f"{self.source}: no split {fields.split!r}; expected one of {', '.join(SPLIT_NAMES)}")
            fields = fields._replace(split=split)
        if self.reject_reason is not None:
            # Without captions, "no caption" would be its only reason.
            texts = texts or ["-"]
        return Entry(file, span, self.source, texts, fields, self.reject_reason)

    def _cell(self, name: str, convert: Any, default: Any) -> Any:
        value = self.values[name]
        if value is None:
            return default
        try:
            return convert(value)
        except CellError as error:
            self._reject(f"{name} {error}", f"column {_cells.shown(self.columns[name])}: {error.value}")
            return default

    def _reject(self, reason: str, cells: str) -> None:
        if self.reject_reason is None:
            self.reject_reason = reason
            self.source = f"{self.source} ({cells})"

    def _file(self, value: Any) -> NamedFile | None:
        """Return the file of a cell: a path, or a file in the table."""
        path, embedded = _cells.path_and_bytes(value)
        text = _cells.text(path)
        if embedded is None:
            return self.files.find(text) if text.strip() else None
        # Only the last part: the path on another machine means nothing here.
        name = posixpath.basename(text.replace("\\", "/").strip()) or f"row-{self.number}"
        digest = hashlib.sha256(embedded).hexdigest()
        return NamedFile(name, digest, ("bytes", digest), len(embedded), self.number)

    def _span(self) -> tuple[float | None, float | None]:
        try:
            start, end = _cells.seconds(self.values["start"]), _cells.seconds(self.values["end"])
        except CellError:
            cells = ", ".join(f"{name} {_cells.shown(self.values[name])}" for name in ("start", "end"))
            self._reject("start or end is no number of seconds", cells)
            return None, None
        if start is not None and end is not None and end <= start:
            self._reject("ends before it starts", f"start {start:g}, end {end:g}")
        return start, end


def _merge(first: Entry, other: Entry) -> None:
    """Add another row of the same clip. Raises RawDataError if the rows contradict each other."""
    for name, before, value in zip(ClipFields._fields, first.fields, other.fields, strict=True):
        if value is not None and before not in (None, value):
            raise RawDataError(
                f"{first.source} and {other.source}: the {name} of {first.media} is {before!r} in one and {value!r} in "
                "the other; expected the same"
            )
    first.fields = ClipFields(*(before or value for before, value in zip(first.fields, other.fields, strict=True)))
    first.captions += other.captions
