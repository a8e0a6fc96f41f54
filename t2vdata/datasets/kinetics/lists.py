"""Files that a user adds to Kinetics: a table of captions, a list of clips."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2vdata.datasets import _rows
from t2vdata.datasets.kinetics.rows import parse_seconds
from t2vdata.errors import RawDataError, RequestError
from t2vdata.text import captions as texts

CLIP_NAME = re.compile(r"([A-Za-z0-9_-]{11})(?:_(\d{6})_(\d{6}))?")
MEDIA_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Captions:
    """The captions of the user's table."""

    file_name: str
    by_clip: Mapping[tuple[str, int | None], list[str]]
    """{(video, start in seconds): captions}; the start is None for captions of a whole video."""

    def of(self, video: str, start: int) -> tuple[str, ...]:
        """Return the captions of a clip, else those of its whole video."""
        return tuple(self.by_clip.get((video, start)) or self.by_clip.get((video, None)) or ())


def read_captions(path: Path, videos: set[str]) -> Captions:
    """Read a table's captions of these videos. Raises RawDataError if it has none."""
    table = _rows.open_table(path)
    id_column = _column(table, "youtube_id", "video_id", "id", "video")
    caption_column = _column(table, "caption", "captions", "title", "text", "sentence", "description")
    start_column = table.optional_column(None, ("time_start", "start", "start_seconds"), "")
    by_clip: dict[tuple[str, int | None], list[str]] = {}
    for _, row in table.rows:
        video, value = str(row.get(id_column)), row.get(caption_column)
        if video in videos:
            start = None if start_column is None else parse_seconds(row.get(start_column))
            captions = value if isinstance(value, list) else [value]
            # An empty field is None, or NaN in Parquet, which is unequal to itself.
            cleaned = [texts.clean(str(caption)) for caption in captions if caption is not None and caption == caption]
            by_clip.setdefault((video, start), []).extend(filter(None, cleaned))
    if not by_clip:
        raise RawDataError(f"--captions {path}: no {id_column} in it is in the annotations")
    return Captions(path.name, by_clip)


def _column(table: _rows.Table, *candidates: str) -> str:
    column = table.optional_column(None, candidates, "")
    if column is None:
        columns = ", ".join(map(repr, table.columns[:20]))
        raise RawDataError(f"--captions {table.path} has no column {' or '.join(candidates)}; it has {columns}: rename one")
    return column


def read_clip_list(path: Path) -> dict[str, tuple[str, str]]:
    """Read {video id, or id with span: (folder before it, ``file, line 7``)}. Raises RequestError, with the line."""
    clips: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        folder, _, name = text.rpartition("/")
        stem, extension = os.path.splitext(name)
        match = CLIP_NAME.fullmatch(stem if extension in MEDIA_EXTENSIONS else name)
        if match is None:
            raise RequestError(
                f"--clip-list {path}, line {number}: expected a clip such as sailing/viVrkZZO6xw or viVrkZZO6xw_000010_000020, "
                f"got {text[:60]!r}"
            )
        clips[match[0]] = (folder.rpartition("/")[2], f"{path.name}, line {number}")
    if not clips:
        raise RequestError(f"--clip-list {path} names no clip; expected one per line, such as viVrkZZO6xw")
    return clips
