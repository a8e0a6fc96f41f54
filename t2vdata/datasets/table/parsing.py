"""What a table or a folder of one's own says of its clips, with the line that says it."""

from __future__ import annotations

import atexit
import functools
import math
import os
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from t2vdata import storage
from t2vdata.datasets import _root, _rows
from t2vdata.errors import RawDataError, StorageError
from t2vdata.text import captions
from t2vdata.types import MediaRef

# What tables call their columns; the first that is there counts.
USUAL = {
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
_MEDIA = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".ogv", ".ogg", ".flv",
          ".wmv", ".asf", ".ivf", ".gif", ".jpg", ".jpeg", ".png", ".webp")  # fmt: skip


class Told(NamedTuple):
    """What a row may say of its clip."""

    label: str | None = None
    group: str | None = None
    split: str | None = None
    key: str | None = None


@dataclass(slots=True)
class Entry:
    """A clip as its rows tell it."""

    media: str
    span: tuple[float | None, float | None]
    where: str
    captions: list[str] = field(default_factory=list)
    told: Told = field(default_factory=lambda: Told())
    why_not: str | None = None


def of_table(path: Path, columns_told: Mapping[str, str | None]) -> Iterator[Entry]:
    """Yield the clips of a table. Raises RawDataError, with the line, for one that cannot be understood.

    ``columns_told`` has the names of columns that were asked for, by what they hold.
    """
    table = _rows.read(path)
    flags = {name: f"--{name}-column" for name in USUAL}
    columns = {name: table.optional(columns_told[name], USUAL[name], flags[name]) for name in USUAL}
    for name in ("path", "caption"):
        columns[name] = table.column(columns_told[name], USUAL[name], flags[name])
    found: dict[object, Entry] = {}
    for number, row in table.rows:
        values = {name: None if column is None else row.get(column) for name, column in columns.items()}
        entry = _entry(values, f"{path.name}, {table.unit} {number}")
        # A row that cannot be used is a clip of its own, to be counted.
        same: object = number if entry.why_not or not entry.media else (entry.media, entry.span, entry.told.key)
        known = found.setdefault(same, entry)
        if known is not entry:
            _merge(known, entry)
    yield from found.values()


def why_no_table(table: str) -> str | None:
    """Return why there is no table at a path or URL, or None."""
    if not storage.is_url(table):
        return None if os.path.isfile(table) else f"no file {table} (--table)"
    try:
        local(table)
    except (FileNotFoundError, StorageError) as error:
        return f"nothing to read at {table} (--table): {error}"
    return None


@functools.lru_cache(maxsize=4)
def local(table: str) -> Path:
    """Return where a table is on this machine; one at a URL is fetched, once in a process, and removed when that ends."""
    if not storage.is_url(table):
        return Path(table)
    folder = tempfile.mkdtemp(prefix="t2vdata-table-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Without what a signed URL has behind its path.
    path = Path(folder, re.sub(r"[?#].*", "", table).rsplit("/", 1)[-1])
    storage.copy_here(table, str(path))
    return path


def listed(base: str, entries: Iterable[Entry]) -> Callable[[str], MediaRef | None]:
    """Return a function from a relative path below a URL to its media file, by one listing of the folder that holds them all.

    It returns None for what such a listing does not cover: absolute URLs, and paths that leave the folder.
    """
    folders = {posixpath.dirname(entry.media) for entry in entries if _is_below(entry.media)}
    if not folders:
        return lambda _: None
    top = posixpath.commonpath(folders)
    root = _root.of(storage.join(base, top) if top else base, anew=True)

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


def _entry(values: Mapping[str, Any], where: str) -> Entry:
    path = _text(values["path"])
    start, end = _seconds(values["start"]), _seconds(values["end"])
    why = None if path else "no path"
    if any(value is not None and (math.isnan(value) or value < 0 or value == math.inf) for value in (start, end)):
        why = "start or end is no number of seconds"
        where = f"{where} (start {values['start']!r}, end {values['end']!r})"
    elif start is not None and end is not None and end <= start:
        why = "ends before it starts"
        where = f"{where} (start {start:g}, end {end:g})"
    texts = values["caption"] if isinstance(values["caption"], list) else [values["caption"]]
    told = Told(*(sys.intern(_text(values[name])) or None for name in Told._fields))
    if told.split is not None:
        known = _SPLIT_NAMES.get(told.split.lower())
        if known is None:
            raise RawDataError(f"{where}: no split {told.split!r}; expected one of {', '.join(_SPLIT_NAMES)}")
        told = told._replace(split=known)
    return Entry(path, (start, end), where, [text for text in map(_text, texts) if text], told, why)


def _merge(known: Entry, other: Entry) -> None:
    """Take the captions of one more row of a clip. Raises RawDataError where two rows contradict each other."""
    for name, before, value in zip(Told._fields, known.told, other.told, strict=True):
        if value is not None and before not in (None, value):
            raise RawDataError(
                f"{known.where} and {other.where}: the {name} of {known.media} is {before!r} in one and {value!r} in "
                "the other; expected one"
            )
    known.told = Told(*(before or value for before, value in zip(known.told, other.told, strict=True)))
    known.captions += other.captions


def of_folder(folder: Path) -> Iterator[Entry]:
    """Yield the clips of a folder: a media file each, with its text beside it."""
    found = names(folder)
    texts = {name[:-4] for name in found if name.endswith(".txt")}
    for name in found:
        stem, ending = os.path.splitext(name)
        if ending == ".txt":
            if not any(stem + other in found or stem + other.upper() in found for other in _MEDIA):
                yield Entry(name, (None, None), name, ["-"], why_not="no media file beside this text")
            continue
        told: list[str] = []
        if stem in texts:
            data = (folder / f"{stem}.txt").read_bytes()
            try:
                told = [text for text in map(captions.clean, data.decode("utf-8-sig").splitlines()) if text]
            except UnicodeDecodeError:
                yield Entry(name, (None, None), f"{stem}.txt", why_not="its text is not UTF-8", captions=["-"])
                continue
        yield Entry(name, (None, None), name, told)


def names(folder: Path) -> dict[str, None]:
    """Return the media files and texts below a folder, sorted: relative paths with slashes."""
    found = [
        os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith((".txt", *_MEDIA))
    ]
    return dict.fromkeys(sorted(found))


def _text(value: Any) -> str:
    return "" if value is None or value != value else captions.clean(str(value))


def _seconds(value: Any) -> float | None:
    """Return a number, None for an empty field, or not-a-number for anything else."""
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
