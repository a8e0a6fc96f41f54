"""Read the tables of Moments in Time: rows of trainingSet.csv and validationSet.csv, category ids, and keys of clips."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2vdata.datasets import _text_files
from t2vdata.errors import RawDataError
from t2vdata.text import captions

CATEGORIES = "moments_categories.txt"
# A number of people or of a category; the JSON of a sample holds integers of 64 bits.
_COUNT = re.compile(r"[0-9]{1,18}")
# Leaves space for a window's suffix.
_LONGEST_KEY = 66


@dataclass(slots=True)
class Row:
    source: str
    """``trainingSet.csv, line 7``"""
    split: str
    path: str
    """Below training/ or validation/: ``adult+female+singing/yt-jX-hTAlTcqY_15.mp4``."""
    label: str
    responses: tuple[int, int] | None
    """Numbers of annotators who said that it is the category, and that it is not."""
    reject_reason: str | None = None

    @property
    def video(self) -> str:
        """The video that the clip was cut from: the number that ends a name is the second at which it starts."""
        return re.sub(r"_\d+$", "", os.path.splitext(self.path.rsplit("/", 1)[-1])[0])


def mark_unusable(rows: Sequence[Row], ids: Mapping[str, int]) -> None:
    """Set the reason of rows with an unknown category, of repeated rows, and of training rows whose video is in val too."""
    val_videos = {row.video for row in rows if row.split == "val" and row.reject_reason is None}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if row.reject_reason is not None:
            continue
        if row.label not in ids:
            row.reject_reason = f"category not in {CATEGORIES}"
        elif (row.split, row.path) in seen:
            row.reject_reason = "listed before"
        elif row.split == "train" and row.video in val_videos:
            row.reject_reason = "its video is in val too"
        seen.add((row.split, row.path))


def read_rows(split: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a table without header."""
    for number, fields in _text_files.csv_records(path):
        yield _row(f"{path.name}, line {number}", split, [field.strip() for field in fields])


def _row(source: str, split: str, fields: list[str]) -> Row:
    if len(fields) != 4:
        return Row(source, split, "", "", None, "a row of other than 4 fields")
    unreadable = next((field for field in fields if not captions.is_unicode(field)), None)
    if unreadable is not None:
        return Row(f"{source} ({captions.printable(unreadable)[:60]!r})", split, "", "", None, "not UTF-8")
    name, label, positive, negative = fields
    counts = (int(positive), int(negative)) if _COUNT.fullmatch(positive) and _COUNT.fullmatch(negative) else None
    # A name is a category and a file, and stays in the folder.
    is_valid = re.fullmatch(r"[^/\\\0]+/[^/\\\0]+", name) is not None and not name.startswith("..")
    return Row(source, split, name, label, counts, None if is_valid else "no category/file.mp4")


def read_categories(path: Path) -> dict[str, int]:
    """Return {category: its official id}. Raises RawDataError with the line for what cannot be read."""
    ids: dict[str, int] = {}
    for number, line in enumerate(_text_files.lines(path), start=1):
        label, _, index = line.strip().rpartition(",")
        if line.strip() and (not label or not _COUNT.fullmatch(index.strip())):
            raise RawDataError(f"{path}, line {number}: expected 'label,index', got {line.strip()[:60]!r}")
        if line.strip():
            ids[label] = int(index)
    if not ids:
        raise RawDataError(f"{path} is empty; expected a line 'label,index' for each category")
    return ids


class Keys:
    """Valid keys for clips: each depends only on its row, except where two rows would share a key."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, row: Row) -> str:
        name = os.path.splitext(row.path)[0].replace("/", "_").replace("+", "_")
        if row.reject_reason is not None:
            name = f"row {row.source}"
        key = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        if key != name or len(key) > _LONGEST_KEY or key in self._taken:
            digest = hashlib.sha256(f"{row.path}\n{row.source if row.reject_reason else row.split}".encode()).hexdigest()
            key = f"{key[: _LONGEST_KEY - 9]}-{digest[:8]}"
        self._taken.add(key)
        return key
