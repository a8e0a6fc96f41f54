"""Your own videos and pictures: a table of paths and captions, or a folder with a text file beside each of them.

A table is a csv, tsv, jsonl or parquet file with a column of paths or URLs and one of captions. Several rows of one path and
span are one clip with several captions, in the order of the rows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vdata import captions, storage
from t2vdata.datasets import _media, _rows
from t2vdata.datasets._splits import split_of
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.types import Clip, Frames

VERSION = 1
SPLITS = ("train", "val", "test")
LICENCE = "That of the files that it was built from; t2vdata does not know it."
CITATION = "That of the files that it was built from."
EXAMPLE = "--table clips.csv --frames 32"

# What tables call their columns; the first that is there counts.
_USUAL = {
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


@dataclass(frozen=True)
class Options(_media.MediaOptions):
    table: Path | None = None
    """A csv, tsv, jsonl or parquet file; relative paths in it begin at its folder, or at --root."""
    folder: Path | None = None
    """A folder of media files, each with its captions in a .txt file of the same name, one a line."""
    path_column: str | None = None
    """Column of paths or URLs; path, video, image, file, filename, media or url unless told."""
    caption_column: str | None = None
    """Column of captions; caption, captions, text, sentence or description unless told."""
    start_column: str | None = None
    """Column of the second at which a clip starts; start, where there is one."""
    end_column: str | None = None
    """Column of the second before which it ends; end, where there is one."""
    label_column: str | None = None
    """Column of labels; label, where there is one."""
    group_column: str | None = None
    """Column of what must not be in two splits; group, where there is one, else the path."""
    split_column: str | None = None
    """Column of splits (train, val, test); split, where there is one, else groups are dealt out by --seed."""
    key_column: str | None = None
    """Column of keys; key, where there is one, else they are made of path and span."""
    val_share: float = 0.05
    """Share of groups dealt out to val."""
    test_share: float = 0.05
    """Share of groups dealt out to test."""


@dataclass
class _Entry:
    """A clip as its rows tell it."""

    media: str
    span: tuple[float | None, float | None]
    where: str
    captions: list[str] = field(default_factory=list)
    told: dict[str, str | None] = field(default_factory=dict)
    """Label, group, split and key."""
    why_not: str | None = None


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    _media.check(options)
    split_of("", 0, _shares(options))


def missing(root: str | None, options: Options) -> str | None:
    """Return what is wrong with ``--table`` or ``--folder``, or None."""
    if (options.table is None) == (options.folder is None):
        return "give it either --table FILE (csv, tsv, jsonl, parquet) or --folder DIR (media beside .txt files)"
    if (why := _media.missing(options)) is not None:
        return why
    if options.table is not None:
        return None if options.table.is_file() else f"no file {options.table} (--table)"
    return None if options.folder is not None and options.folder.is_dir() else f"no folder {options.folder} (--folder)"


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hash of the table, or of the folder's names and texts. Media files are not read for it."""
    digest = hashlib.sha256()
    name = None
    if options.table is not None:
        # Its name, for the JSON of a clip says "clips.csv, line 7".
        name = options.table.name
        digest.update(options.table.read_bytes())
    elif options.folder is not None:
        for one in _names(options.folder):
            text = (options.folder / one).read_bytes() if one.endswith(".txt") else b""
            digest.update(json.dumps([one, hashlib.sha256(text).hexdigest()]).encode())
    return {"name": name, "sha256": digest.hexdigest(), "decoder": _media.identity(options)}


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the clips of a split. Raises RawDataError, with the line, for a table that cannot be understood."""
    content = str(source(root, options))
    return [clip for known, clip in _all_clips(root, options, seed, content) if known == split]


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    return _media.clip_filters(options)


def render(clip: Clip, options: Options) -> Frames:
    return _media.render(clip, options)


def frame_size(options: Options) -> tuple[int, int] | None:
    return _media.frame_size(options)


def _shares(options: Options) -> dict[str, float]:
    return {"test": options.test_share, "val": options.val_share}


@functools.lru_cache(maxsize=1)
def _all_clips(root: str | None, options: Options, seed: int, content: str) -> list[tuple[str, Clip]]:
    """Return (split, clip) of all clips; read once for all splits, and again when the ``content`` has changed."""
    entries = list(_of_table(options, root) if options.table is not None else _of_folder(options))
    if not entries:
        where = options.table if options.table is not None else options.folder
        raise RawDataError(f"{where} has no rows" if options.table is not None else f"no media files and no texts in {where}")
    base = root or str(options.folder if options.table is None else options.table.parent)
    keys = _Keys()
    made: list[tuple[str, Clip]] = []
    for entry in entries:
        split = entry.told.get("split") or split_of(entry.told.get("group") or entry.media, seed, _shares(options))
        clip = _clip(entry, keys.of(entry), base, options)
        made += [(split, one) for one in _media.windows([clip], options)]
    return made + [("train", clip) for clip in _media.check_lists(options, (clip for _, clip in made))]


def _clip(entry: _Entry, key: str, base: str, options: Options) -> Clip:
    meta = {"source": entry.where, "path": entry.media, "label": entry.told.get("label"), "why_not": entry.why_not}
    start, end = (None, None) if entry.why_not else entry.span
    return Clip(
        key,
        _media.caption_filter(options).kept(dict.fromkeys(entry.captions)),
        media=entry.media if storage.is_url(entry.media) else storage.join(base, entry.media) if entry.media else None,
        start_seconds=start,
        end_seconds=end,
        group=entry.told.get("group") or entry.media,
        meta={name: value for name, value in meta.items() if value is not None},
    )


def _of_table(options: Options, root: str | None) -> Iterator[_Entry]:
    assert options.table is not None  # noqa: S101  # asked before
    table = _rows.read(options.table)
    flags = {name: f"--{name}-column" for name in _USUAL}
    columns = {name: table.optional(getattr(options, f"{name}_column"), _USUAL[name], flags[name]) for name in _USUAL}
    for name in ("path", "caption"):
        columns[name] = table.column(getattr(options, f"{name}_column"), _USUAL[name], flags[name])
    found: dict[object, _Entry] = {}
    for number, row in table.rows:
        values = {name: None if column is None else row.get(column) for name, column in columns.items()}
        entry = _entry(values, f"{options.table.name}, {table.unit} {number}")
        # A row that cannot be used is a clip of its own, to be counted.
        same: object = number if entry.why_not or not entry.media else (entry.media, entry.span, entry.told["key"])
        known = found.setdefault(same, entry)
        if known is not entry:
            _merge(known, entry)
    yield from found.values()


def _entry(values: Mapping[str, Any], where: str) -> _Entry:
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
    told = {name: _text(values[name]) or None for name in ("label", "group", "split", "key")}
    if told["split"] is not None:
        known = _SPLIT_NAMES.get(told["split"].lower())
        if known is None:
            raise RawDataError(f"{where}: no split {told['split']!r}; expected one of {', '.join(_SPLIT_NAMES)}")
        told["split"] = known
    return _Entry(path, (start, end), where, [text for text in map(_text, texts) if text], told, why)


def _merge(known: _Entry, other: _Entry) -> None:
    """Take the captions of one more row of a clip. Raises RawDataError where two rows contradict each other."""
    for name, value in other.told.items():
        if value is not None and known.told[name] not in (None, value):
            raise RawDataError(
                f"{known.where} and {other.where}: the {name} of {known.media} is {known.told[name]!r} in one and {value!r} in "
                "the other; expected one"
            )
        known.told[name] = known.told[name] or value
    known.captions += other.captions


def _of_folder(options: Options) -> Iterator[_Entry]:
    assert options.folder is not None  # noqa: S101  # asked before
    names = _names(options.folder)
    texts = {name[:-4] for name in names if name.endswith(".txt")}
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending == ".txt":
            if not any(stem + other in names or stem + other.upper() in names for other in _MEDIA):
                yield _Entry(name, (None, None), name, ["-"], why_not="no media file beside this text")
            continue
        told: list[str] = []
        if stem in texts:
            data = (options.folder / f"{stem}.txt").read_bytes()
            try:
                told = [text for text in map(captions.clean, data.decode("utf-8-sig").splitlines()) if text]
            except UnicodeDecodeError:
                yield _Entry(name, (None, None), f"{stem}.txt", why_not="its text is not UTF-8", captions=["-"])
                continue
        yield _Entry(name, (None, None), name, told)


def _names(folder: Path) -> dict[str, None]:
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


class _Keys:
    """A legal key for each clip, the same whatever other clips there are, but for two that would share one."""

    # Room for the number of a window.
    LONGEST = 66

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of(self, entry: _Entry) -> str:
        own = entry.told.get("key")
        if own is not None:
            return self._own(own, entry)
        stem = os.path.splitext(entry.media.rsplit("://", 1)[-1])[0]
        span = "".join(f"-{seconds:g}" for seconds in entry.span if seconds is not None)
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", stem + span)
        if not entry.media or entry.why_not:
            plain = f"{plain[:50]}-{re.sub('[^0-9]', '', entry.where)[:12]}"
        key = plain
        if plain != (stem + span).replace("/", "_").replace(".", "_") or len(plain) > self.LONGEST or plain in self._taken:
            digest = hashlib.sha256(f"{entry.media}\n{entry.span}\n{entry.where if plain in self._taken else ''}".encode())
            key = f"{plain[-self.LONGEST + 9 :]}-{digest.hexdigest()[:8]}"
        self._taken[key] = entry.where
        return key

    def _own(self, key: str, entry: _Entry) -> str:
        if key in self._taken:
            raise RawDataError(f"{self._taken[key]} and {entry.where} have one key, {key!r}, but other paths or spans")
        try:
            Clip(key, ())
        except RequestError as error:
            raise RawDataError(f"{entry.where}: {error}; leave the column out and keys are made of the paths") from None
        self._taken[key] = entry.where
        return key
