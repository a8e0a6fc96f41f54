"""What a user brings to Kinetics: captions in a table, clips in a list."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2vdata.datasets import _rows
from t2vdata.datasets.kinetics import rows
from t2vdata.errors import RawDataError, RequestError
from t2vdata.text import captions as texts

NAME = re.compile(r"([A-Za-z0-9_-]{11})(?:_(\d{6})_(\d{6}))?")
MEDIA = (".mp4", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Captions:
    """The captions of the user's table."""

    name: str
    by_clip: Mapping[tuple[str, int | None], list[str]]

    def of(self, video: str, start: int) -> tuple[str, ...]:
        """Return the captions of a clip, or else those that are told of its video as a whole."""
        return tuple(self.by_clip.get((video, start)) or self.by_clip.get((video, None)) or ())


def captions(path: Path, videos: set[str]) -> Captions:
    """Return a table's captions of these videos. Raises RawDataError where it has none."""
    table = _rows.read(path)
    id_column = _column(table, "youtube_id", "video_id", "id", "video")
    caption_column = _column(table, "caption", "captions", "title", "text", "sentence", "description")
    start_column = table.optional(None, ("time_start", "start", "start_seconds"), "")
    found: dict[tuple[str, int | None], list[str]] = {}
    for _, row in table.rows:
        video, said = str(row.get(id_column)), row.get(caption_column)
        if video in videos:
            start = None if start_column is None else rows.number(row.get(start_column))
            several = said if isinstance(said, list) else [said]
            cleaned = [texts.clean(str(one)) for one in several if one is not None and one == one]
            found.setdefault((video, start), []).extend(filter(None, cleaned))
    if not found:
        raise RawDataError(f"--captions {path}: no {id_column} in it is in the annotations")
    return Captions(path.name, found)


def _column(table: _rows.Table, *usual: str) -> str:
    found = table.optional(None, usual, "")
    if found is None:
        there = ", ".join(map(repr, table.columns[:20]))
        raise RawDataError(f"--captions {table.path} has no column {' or '.join(usual)}; there is {there}: rename one")
    return found


def clip_list(path: Path) -> dict[str, tuple[str, str]]:
    """Return {id, or id with span: (folder before it, ``file, line 7``)}. Raises RequestError with the line."""
    found: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        folder, _, name = text.rpartition("/")
        stem, ending = os.path.splitext(name)
        told = NAME.fullmatch(stem if ending in MEDIA else name)
        if told is None:
            raise RequestError(
                f"--clip-list {path}, line {number}: expected a clip such as sailing/viVrkZZO6xw or viVrkZZO6xw_000010_000020, "
                f"got {text[:60]!r}"
            )
        found[told[0]] = (folder.rpartition("/")[2], f"{path.name}, line {number}")
    if not found:
        raise RequestError(f"--clip-list {path} names no clip; expected one a line, such as viVrkZZO6xw")
    return found
