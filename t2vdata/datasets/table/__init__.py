"""Your own videos and pictures, from a table of paths and captions, or a folder with a text file beside each media file.

A table is a csv, tsv, jsonl, json, parquet or feather file with a column of paths or URLs and one of captions. Several rows
with the same path and span are one clip with several captions, in the order of the rows.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata import storage
from t2vdata.datasets import _cells, _rows, _text_files
from t2vdata.datasets._cells import CellError
from t2vdata.datasets._columnar import CellReader
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options
from t2vdata.datasets.splits import split_of
from t2vdata.datasets.table import folders, parsing
from t2vdata.datasets.table.files import Files, listed_media
from t2vdata.datasets.table.groups import assign_groups, assign_splits
from t2vdata.datasets.table.keys import Keys
from t2vdata.errors import DecodeError, RawDataError, StorageError
from t2vdata.types import Clip, MediaRef


@dataclass(frozen=True)
class TableOptions(MediaOptions):
    table: Path | str | None = None
    """A csv, tsv, jsonl, json, parquet or feather file, or its URL. Relative paths in it start at its folder, or at --root."""
    folder: Path | None = None
    """A folder of media files, each with its captions in a .txt file of the same name, one per line."""
    path_column: str | None = None
    """Column of paths or URLs; default: path, video, image, file, filename, media or url."""
    caption_column: str | None = None
    """Column of captions; default: caption, captions, text, sentence or description."""
    start_column: str | None = None
    """Column of the start of a clip, in seconds; default: start, if it exists."""
    end_column: str | None = None
    """Column of the end of a clip, in seconds, exclusive; default: end, if it exists."""
    label_column: str | None = None
    """Column of labels; default: label, if it exists."""
    group_column: str | None = None
    """Column of groups, which splits never share; default: group if it exists, else the path."""
    split_column: str | None = None
    """Column of splits (train, val, test); default: split if it exists, else groups are assigned by --seed."""
    key_column: str | None = None
    """Column of keys; default: key if it exists, else keys are derived from path and span."""
    val_share: float = 0.05
    """Share of groups assigned to val."""
    test_share: float = 0.05
    """Share of groups assigned to test."""


class Table(MediaDataset):
    VERSION = 2
    SPLITS = ("train", "val", "test")
    LICENCE = "That of the files that it was built from; t2vdata does not know it."
    CITATION = "That of the files that it was built from."
    EXAMPLE = "--table clips.csv --frames 32"
    RAW_FILES = "yours: a table (--table), or a folder of media files, each beside a .txt of the same name (--folder)"
    TREE = """
mydata/
  clips.csv                 path,caption,start,end,label,group,split,key; all but path and caption may be missing
  videos/cat.mp4 ...        where the paths say, from the folder of the table or --root; or behind URLs
or
mydata/
  cat.mp4  cat.txt          one caption per line
  more/dog.webm  more/dog.txt
"""

    Options = TableOptions
    options: TableOptions

    @staticmethod
    def check(options: TableOptions) -> None:
        check_media_options(options)
        split_of("", 0, _shares(options))

    def missing(self) -> str | None:
        """Return what is wrong with ``--table`` or ``--folder``, or None."""
        table, folder = self.options.table, self.options.folder
        if (table is None) == (folder is None):
            return "give it either --table FILE (csv, jsonl, parquet ...) or --folder DIR (media beside .txt files)"
        if (why := super().missing()) is not None:
            return why
        if folder is not None:
            return None if folder.is_dir() else f"no folder {folder} (--folder)"
        if not storage.is_url(str(table)):
            return None if Path(str(table)).is_file() else f"no file {table} (--table)"
        try:
            self._local_table  # noqa: B018  # downloads it
        except (FileNotFoundError, StorageError) as error:
            return f"cannot read {table} (--table): {error}"
        return None

    def source(self) -> dict[str, Any]:
        """Return the hash of the table, or of the folder's names and texts. Media files are not read."""
        if self.options.table is None:
            name, digest = None, folders.source_hash(self._folder)
        else:
            # With its name, because the JSON of a clip says "clips.csv, line 7".
            name, digest = self._local_table.name, _text_files.sha256(self._local_table)
        return {"name": name, "sha256": digest, "decoder": self.decoder_identity()}

    def clips(self, split: str) -> Sequence[Clip]:
        """Return the clips of a split. Raises RawDataError, with the line, for a table that cannot be understood."""
        return self._clips_by_split[split]

    @functools.cached_property
    def _local_table(self) -> Path:
        """The table on this machine. One at a URL is downloaded once and deleted with this object."""
        table = str(self.options.table)
        if not storage.is_url(table):
            return Path(table)
        folder = tempfile.mkdtemp(prefix="t2vdata-table-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        path = Path(folder, parsing.file_name(table))
        storage.copy_here(table, str(path))
        return path

    @functools.cached_property
    def _clips_by_split(self) -> dict[str, PackedClips]:
        """{split: clips}; read for all splits at once."""
        options = self.options
        entries = list(self._entries())
        if not entries:
            raise RawDataError(f"{options.table} has no rows" if options.table is not None else _no_entries(self._folder))
        assign_groups(entries)
        assign_splits(entries, lambda group: split_of(group, self.seed, _shares(options)))
        names = (entry.media for entry in entries if not entry.is_embedded)
        listed = listed_media(self._base, names) if storage.is_url(self._base) else lambda _: None
        keys = Keys(entries)
        clips = {split: PackedClips(options.windows) for split in self.SPLITS}
        for entry in entries:
            clips[entry.split].add(self._clip(entry, keys.of(entry), self._media(entry, listed)))
        clips["train"].add_last(self.lists.unmatched(clip for packed in clips.values() for clip in packed))
        return clips

    @staticmethod
    def _media(entry: parsing.Entry, listed: Callable[[str], MediaRef | None]) -> MediaRef | None:
        return entry.ref if entry.is_embedded else listed(entry.media) or entry.ref

    @property
    def _folder(self) -> Path:
        return self.options.folder or Path()

    @property
    def _base(self) -> str:
        """The folder or URL at which relative paths start."""
        table = self.options.table
        return self.root or (str(self._folder) if table is None else parsing.folder_of(str(table)))

    def _entries(self) -> Iterator[parsing.Entry]:
        if self.options.table is None:
            return folders.folder_entries(self._folder)
        return parsing.table_entries(self._local_table, self._requested_columns(), Files(self._base))

    def _requested_columns(self) -> dict[str, str | None]:
        return {name: getattr(self.options, f"{name}_column") for name in parsing.USUAL_COLUMNS}

    def _clip(self, entry: parsing.Entry, key: str, media: MediaRef | None) -> Clip:
        start, end = (None, None) if entry.reject_reason else entry.span
        return Clip(
            key,
            self.kept_captions(dict.fromkeys(entry.captions)),
            media=media,
            start_seconds=start,
            end_seconds=end,
            group=entry.group,
            meta={} if entry.fields.label is None else {"label": entry.fields.label},
            source=entry.source,
            reject_reason=entry.reject_reason,
        )

    def embedded_file(self, clip: Clip) -> bytes | None:
        """Return the bytes of a file that is in the table itself, or None."""
        if clip.media is None or clip.media.row is None:
            return None
        try:
            _, content = _cells.path_and_bytes(self._cells.read(clip.media.row))
        except CellError:
            content = None
        if content is None:
            raise DecodeError(f"row {clip.media.row} of {self._local_table.name} has no bytes; it has changed during the build")
        return content

    @functools.cached_property
    def _cells(self) -> CellReader:
        table = _rows.open_table(self._local_table)
        return CellReader(self._local_table, str(parsing.choose_columns(table, self._requested_columns())["path"]))


DATASET = Table


def _shares(options: TableOptions) -> dict[str, float]:
    return {"test": options.test_share, "val": options.val_share}


def _no_entries(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    summary = f"found {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else "which is empty"
    return f"no media files and no texts in {folder} ({summary}); expected such as cat.mp4 beside its cat.txt"
