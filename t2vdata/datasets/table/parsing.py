"""Read the clips that a user's table or folder describes, with the line that describes each."""

from __future__ import annotations

import math
import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from t2vdata import storage
from t2vdata.datasets import _rows
from t2vdata.datasets.root import Root
from t2vdata.errors import RawDataError
from t2vdata.text import captions
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
_SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
_MEDIA_EXTENSIONS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv", ".ogg", ".flv", ".wmv",
    ".asf", ".ivf", ".gif", ".jpg", ".jpeg", ".png", ".webp",
)  # fmt: skip


class ClipFields(NamedTuple):
    """What a row may state about its clip besides its media file and captions."""

    label: str | None = None
    group: str | None = None
    split: str | None = None
    key: str | None = None


@dataclass(slots=True)
class Entry:
    """A clip as its rows describe it."""

    media: str
    """Path or URL, as in the table; empty if the row has none."""
    span: tuple[float | None, float | None]
    """Start and end in seconds; None is the start or end of the file."""
    source: str
    """Where the clip is described: ``clips.csv, line 7``."""
    captions: list[str] = field(default_factory=list)
    fields: ClipFields = field(default_factory=lambda: ClipFields())
    reject_reason: str | None = None
    """Why the clip cannot be used, or None."""


def table_entries(path: Path, requested_columns: Mapping[str, str | None]) -> Iterator[Entry]:
    """Yield the clips of a table. Raises RawDataError, with the line, for invalid content.

    ``requested_columns`` has the user's choice of column, or None, for each key of USUAL_COLUMNS.
    """
    table = _rows.open_table(path)
    columns: dict[str, str | None] = {}
    for name, candidates in USUAL_COLUMNS.items():
        choose = table.required_column if name in ("path", "caption") else table.optional_column
        columns[name] = choose(requested_columns[name], candidates, f"--{name}-column")
    entries: dict[object, Entry] = {}
    for number, row in table.rows:
        values = {name: None if column is None else row.get(column) for name, column in columns.items()}
        entry = _entry(values, f"{path.name}, {table.unit} {number}")
        # An unusable row is a clip of its own, so that it is counted.
        identity: object = number if entry.reject_reason or not entry.media else (entry.media, entry.span, entry.fields.key)
        first = entries.setdefault(identity, entry)
        if first is not entry:
            _merge(first, entry)
    yield from entries.values()


def file_name(url: str) -> str:
    """Return the name of the file at a URL, without the query of a signed one."""
    return re.sub(r"[?#].*", "", url).rsplit("/", 1)[-1]


def listed(base: str, entries: Iterable[Entry]) -> Callable[[str], MediaRef | None]:
    """Return a function from a relative path below a URL to its media file, by one listing of the folder that holds them all.

    It returns None for what such a listing does not cover: absolute URLs, and paths that leave the folder.
    """
    folders = {posixpath.dirname(entry.media) for entry in entries if _is_below(entry.media)}
    if not folders:
        return lambda _: None
    top = posixpath.commonpath(folders)
    root = Root(storage.join(base, top) if top else base)

    def media(name: str) -> MediaRef | None:
        if not _is_below(name):
            return None
        # The path as the table has it: a web server's listing would quote it.
        return replace(root.media(posixpath.relpath(name, top or ".")), path=storage.join(base, name), name=name)

    return media


def _is_below(media: str) -> bool:
    return bool(media) and not storage.is_url(media) and not media.startswith("/") and ".." not in media.split("/")


def folder_of(table: str) -> str:
    """Return the folder of a table, a path or a URL."""
    return table.rsplit("/", 1)[0] if storage.is_url(table) else str(Path(table).parent)


def _entry(values: Mapping[str, Any], source: str) -> Entry:
    path = _text(values["path"])
    start, end = _seconds(values["start"]), _seconds(values["end"])
    reject_reason = None if path else "no path"
    if any(value is not None and (math.isnan(value) or value < 0 or value == math.inf) for value in (start, end)):
        reject_reason = "start or end is no number of seconds"
        source = f"{source} (start {values['start']!r}, end {values['end']!r})"
    elif start is not None and end is not None and end <= start:
        reject_reason = "ends before it starts"
        source = f"{source} (start {start:g}, end {end:g})"
    texts = values["caption"] if isinstance(values["caption"], list) else [values["caption"]]
    fields = ClipFields(*(sys.intern(_text(values[name])) or None for name in ClipFields._fields))
    if fields.split is not None:
        split = _SPLIT_NAMES.get(fields.split.lower())
        if split is None:
            raise RawDataError(f"{source}: no split {fields.split!r}; expected one of {', '.join(_SPLIT_NAMES)}")
        fields = fields._replace(split=split)
    return Entry(path, (start, end), source, [text for text in map(_text, texts) if text], fields, reject_reason)


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


def folder_entries(folder: Path) -> Iterator[Entry]:
    """Yield the clips of a folder: a media file each, with the text file beside it."""
    names = media_and_text_names(folder)
    for name in names:
        stem, extension = os.path.splitext(name)
        if extension == ".txt":
            if not any(stem + suffix in names or stem + suffix.upper() in names for suffix in _MEDIA_EXTENSIONS):
                yield Entry(name, (None, None), name, ["-"], reject_reason="no media file beside this text")
            continue
        texts: list[str] = []
        if f"{stem}.txt" in names:
            data = (folder / f"{stem}.txt").read_bytes()
            try:
                texts = [text for text in map(captions.clean, data.decode("utf-8-sig").splitlines()) if text]
            except UnicodeDecodeError:
                yield Entry(name, (None, None), f"{stem}.txt", reject_reason="its text is not UTF-8", captions=["-"])
                continue
        yield Entry(name, (None, None), name, texts)


def media_and_text_names(folder: Path) -> dict[str, None]:
    """Return the media files and texts below a folder, sorted: relative paths with slashes."""
    paths = [
        os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith((".txt", *_MEDIA_EXTENSIONS))
    ]
    return dict.fromkeys(sorted(paths))


def _text(value: Any) -> str:
    return "" if value is None or value != value else captions.clean(str(value))


def _seconds(value: Any) -> float | None:
    """Return a number of seconds, None for an empty field, or NaN for anything else."""
    text = _text(value)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        # 1:02.5 and 0:01:02.5
        parts = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
        if parts is None:
            return math.nan
        hours, minutes, seconds = parts.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
