"""Your own videos and pictures: a table of paths and captions, or a folder with a text file beside each of them.

A table is a csv, tsv, jsonl or parquet file with a column of paths or URLs and one of captions. Several rows of one path and
span are one clip with several captions, in the order of the rows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata import storage
from t2vdata.datasets import media as media_base
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets._splits import split_of
from t2vdata.datasets.table import parsing
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.types import Clip, Frames, MediaRef

VERSION = 2
SPLITS = ("train", "val", "test")
LICENCE = "That of the files that it was built from; t2vdata does not know it."
CITATION = "That of the files that it was built from."
EXAMPLE = "--table clips.csv --frames 32"
RAW_FILES = "yours: a table (--table), or a folder of media files, each beside a .txt of its name (--folder)"
TREE = """
mydata/
  clips.csv                 path,caption,start,end,label,group,split,key; all but path and caption may be missing
  videos/cat.mp4 ...        where the paths say, from the folder of the table or --root; or behind URLs
or
mydata/
  cat.mp4  cat.txt          a caption a line
  more/dog.webm  more/dog.txt
"""


@dataclass(frozen=True)
class Options(media_base.MediaOptions):
    table: Path | str | None = None
    """A csv, tsv, jsonl or parquet file, or its URL; relative paths in it begin at its folder, or at --root."""
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


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    media_base.check(options)
    split_of("", 0, _shares(options))


def missing(root: str | None, options: Options) -> str | None:
    """Return what is wrong with ``--table`` or ``--folder``, or None."""
    if (options.table is None) == (options.folder is None):
        return "give it either --table FILE (csv, tsv, jsonl, parquet) or --folder DIR (media beside .txt files)"
    _all_clips.cache_clear()
    if (why := media_base.missing(options)) is not None:
        return why
    if options.table is not None:
        return parsing.why_no_table(str(options.table))
    return None if options.folder is not None and options.folder.is_dir() else f"no folder {options.folder} (--folder)"


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hash of the table, or of the folder's names and texts. Media files are not read for it."""
    digest = hashlib.sha256()
    name = None
    if options.table is not None:
        # Its name, for the JSON of a clip says "clips.csv, line 7".
        local = parsing.local_table(str(options.table))
        name = local.name
        digest.update(local.read_bytes())
    elif options.folder is not None:
        for one in parsing.media_and_text_names(options.folder):
            text = (options.folder / one).read_bytes() if one.endswith(".txt") else b""
            digest.update(json.dumps([one, hashlib.sha256(text).hexdigest()]).encode())
    return {"name": name, "sha256": digest.hexdigest(), "decoder": media_base.identity(options)}


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the clips of a split. Raises RawDataError, with the line, for a table that cannot be understood."""
    content = str(source(root, options))
    return _all_clips(root, options, seed, content)[split]


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    return media_base.clip_filters(options)


def render(clip: Clip, options: Options) -> Frames:
    return media_base.render(clip, options)


def frame_size(options: Options) -> tuple[int, int] | None:
    return media_base.frame_size(options)


def _shares(options: Options) -> dict[str, float]:
    return {"test": options.test_share, "val": options.val_share}


@functools.lru_cache(maxsize=1)
def _all_clips(root: str | None, options: Options, seed: int, content: str) -> dict[str, PackedClips]:
    """Return {split: clips}; read once for all splits, and again when the ``content`` has changed."""
    entries = list(_entries(options))
    if not entries:
        raise RawDataError(f"{options.table} has no rows" if options.folder is None else _no_entries(options.folder))
    base = root or str(options.folder if options.table is None else parsing.folder_of(str(options.table)))
    listed = parsing.listed(base, entries) if storage.is_url(base) else lambda _: None
    keys = _Keys()
    made = {split: PackedClips(options.windows) for split in SPLITS}
    for entry in entries:
        split = entry.fields.split or split_of(entry.fields.group or entry.media, seed, _shares(options))
        made[split].add(_clip(entry, keys.of(entry), listed(entry.media) or _media(entry, base), options))
    made["train"].add_last(media_base.check_lists(options, (clip for some in made.values() for clip in some)))
    return made


def _no_entries(folder: Path) -> str:
    names = sorted(one.name for one in folder.iterdir())
    found = f"found {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else "which is empty"
    return f"no media files and no texts in {folder} ({found}); expected such as cat.mp4 beside its cat.txt"


def _entries(options: Options) -> Iterator[parsing.Entry]:
    if options.table is None:
        return parsing.folder_entries(options.folder or Path())
    told = {name: getattr(options, f"{name}_column") for name in parsing.USUAL_COLUMNS}
    return parsing.table_entries(parsing.local_table(str(options.table)), told)


def _media(entry: parsing.Entry, base: str) -> MediaRef | None:
    if not entry.media:
        return None
    return MediaRef(entry.media if storage.is_url(entry.media) else storage.join(base, entry.media), entry.media)


def _clip(entry: parsing.Entry, key: str, media: MediaRef | None, options: Options) -> Clip:
    start, end = (None, None) if entry.why_not else entry.span
    return Clip(
        key,
        media_base.caption_filter(options).kept(dict.fromkeys(entry.captions)),
        media=media,
        start_seconds=start,
        end_seconds=end,
        group=entry.fields.group or entry.media,
        meta={} if entry.fields.label is None else {"label": entry.fields.label},
        source=entry.source,
        reject_reason=entry.why_not,
    )


class _Keys:
    """A legal key for each clip, the same whatever other clips there are, but for two that would share one."""

    # Room for the number of a window.
    LONGEST = 66

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of(self, entry: parsing.Entry) -> str:
        own = entry.fields.key
        if own is not None:
            return self._own(own, entry)
        stem = os.path.splitext(entry.media.rsplit("://", 1)[-1])[0]
        span = "".join(f"-{seconds:g}" for seconds in entry.span if seconds is not None)
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", stem + span)
        if not entry.media or entry.why_not:
            plain = f"{plain[:50]}-{re.sub('[^0-9]', '', entry.source)[:12]}"
        key = plain
        if plain != (stem + span).replace("/", "_").replace(".", "_") or len(plain) > self.LONGEST or plain in self._taken:
            digest = hashlib.sha256(f"{entry.media}\n{entry.span}\n{entry.source if plain in self._taken else ''}".encode())
            key = f"{plain[-self.LONGEST + 9 :]}-{digest.hexdigest()[:8]}"
        self._taken[key] = entry.source
        return key

    def _own(self, key: str, entry: parsing.Entry) -> str:
        if key in self._taken:
            raise RawDataError(f"{self._taken[key]} and {entry.source} have one key, {key!r}, but other paths or spans")
        try:
            Clip(key, ())
        except RequestError as error:
            raise RawDataError(f"{entry.source}: {error}; leave the column out and keys are made of the paths") from None
        self._taken[key] = entry.source
        return key
