"""Files that a user adds to Kinetics: a table of captions, a list of clips."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2vdata.datasets import _cells, _rows, _text_files
from t2vdata.datasets._cells import CellError
from t2vdata.datasets._media_names import split_ending
from t2vdata.errors import RawDataError, RequestError

CLIP_NAME = re.compile(r"([A-Za-z0-9_-]{11})(?:_(\d{6})_(\d{6}))?")


def clip_name(file_name: str) -> str | None:
    """Return the name of the clip, with its span, in a media file; None for another file."""
    stem, ending = split_ending(file_name)
    return stem if ending and len(stem) > 11 and CLIP_NAME.fullmatch(stem) else None


@dataclass(frozen=True)
class Captions:
    """The captions of the user's table."""

    file_name: str
    by_clip: dict[tuple[str, int | None], list[str]] = field(default_factory=dict)
    """{(video, start in seconds): captions}; the start is None for captions of a whole video."""
    problems: dict[tuple[str, int | None], tuple[str, str]] = field(default_factory=dict)
    """{(video, start in seconds): (why a caption cannot be used, where it is)}"""

    def of(self, video: str, start: int) -> tuple[str, ...]:
        """Return the captions of a clip, else those of its whole video."""
        return tuple(self.by_clip.get((video, start)) or self.by_clip.get((video, None)) or ())

    def problem(self, video: str, start: int) -> tuple[str, str] | None:
        """Return why the captions of a clip cannot be used, and where they are; None if they can."""
        return self.problems.get((video, start)) or self.problems.get((video, None))


def read_captions(path: Path, videos: set[str]) -> Captions:
    """Read a table's captions of these videos. Raises RawDataError if it has none."""
    table = _rows.open_table(path)
    id_column = _column(table, "youtube_id", "video_id", "id", "video")
    caption_column = _column(table, "caption", "captions", "title", "text", "sentence", "description")
    start_column = table.optional_column(None, ("time_start", "start", "start_seconds"), "")
    result = Captions(path.name)
    for number, row in table.rows((id_column, caption_column, start_column)):
        source = f"{path.name}, {table.unit} {number}"
        try:
            video = _cells.name(row.get(id_column))
        except CellError:
            continue
        if video in videos:
            start = None if start_column is None else _start(row.get(start_column), source)
            try:
                result.by_clip.setdefault((video, start), []).extend(_cells.texts(row.get(caption_column)))
            except CellError as error:
                result.problems[video, start] = (f"caption {error}", f"{source}: {caption_column!r} is {error.value}")
    if not result.by_clip:
        raise RawDataError(f"--captions {path}: no {id_column} in it is in the annotations")
    return result


def _start(value: Any, source: str) -> int | None:
    try:
        seconds = _cells.seconds(value)
    except CellError as error:
        raise RawDataError(f"--captions {source}: {error.value} {error}; leave it empty for all clips of the video") from None
    return None if seconds is None else int(seconds)


def _column(table: _rows.Table, *candidates: str) -> str:
    column = table.optional_column(None, candidates, "")
    if column is None:
        columns = ", ".join(map(repr, table.columns[:20]))
        raise RawDataError(f"--captions {table.path} has no column {' or '.join(candidates)}; it has {columns}: rename one")
    return column


def read_clip_list(path: Path) -> dict[str, tuple[str, str]]:
    """Read {video id, or id with span: (folder before it, ``file, line 7``)}. Raises RequestError, with the line."""
    clips: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(_text_files.lines(path, errors="surrogateescape"), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        folder, _, name = text.rpartition("/")
        match = CLIP_NAME.fullmatch(split_ending(name)[0])
        if match is None:
            raise RequestError(
                f"--clip-list {path}, line {number}: expected a clip such as sailing/viVrkZZO6xw or viVrkZZO6xw_000010_000020, "
                f"got {text[:60]!r}"
            )
        clips[match[0]] = (folder.rpartition("/")[2], f"{path.name}, line {number}")
    if not clips:
        raise RequestError(f"--clip-list {path} names no clip; expected one per line, such as viVrkZZO6xw")
    return clips
