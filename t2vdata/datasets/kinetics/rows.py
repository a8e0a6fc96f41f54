"""Read the annotations of Kinetics: CSVs of all releases, with or without labels, and the JSON files of DeepMind's archive."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata.datasets import _cells, _json_items, _text_files
from t2vdata.datasets._cells import CellError, shown
from t2vdata.datasets.root import Root
from t2vdata.datasets.splits import SPLIT_NAMES
from t2vdata.errors import RawDataError

SPLITS = ("train", "val", "test")
# train.csv, validate.csv, kinetics-400_val.csv, kinetics600_holdout_test.csv
_FILE_NAME = re.compile(
    r"(?:k(?:inetics)?[-_]?(?:[467]00)?(?:[-_]2020)?[-_])?(?:holdout[-_])?(train|val|validate|validation|test)\.(?:csv|txt|json)"
)
_FOLDERS = ("annotations", "annotations/deepmind", "", "kinetics400", "kinetics600", "kinetics700", "kinetics700_2020")
# A file's name has six digits for its start and its end.
_MAX_SECONDS = 10**6
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(slots=True)
class Row:
    """A row of the annotations: a span of a YouTube video, and its label."""

    source: str
    """Where the row is: ``train.csv, line 7``."""
    split: str
    video: str
    span: tuple[int, int]
    """Start and end in seconds."""
    label: str
    is_cc: str | None
    reject_reason: str | None = None
    """Why the row cannot be used, or None."""

    @property
    def name(self) -> str:
        """Return the name of the clip's file, without extension."""
        return f"{self.video}_{self.span[0]:06d}_{self.span[1]:06d}"


def annotation_files(root: Root, annotations: Path | None) -> list[tuple[str, Path]]:
    """Return (split, file) of the annotations, from ``annotations`` or the first folder below the root that has any."""
    if annotations is not None and annotations.is_file():
        match = _FILE_NAME.fullmatch(annotations.name)
        return [(SPLIT_NAMES[match[1]] if match else "train", annotations)]
    if annotations is not None:
        return [(split, annotations / name) for split, name in _split_files(Root(str(annotations)), "")]
    return [(split, root.local(name)) for split, name in annotation_names(root)]


def annotation_names(root: Root, below: str = "") -> list[tuple[str, str]]:
    """Return (split, name below the root) of the annotations of a root, or of the folder ``below`` it."""
    prefix = f"{below}/" if below else ""
    candidates = (_split_files(root, f"{prefix}{folder}".rstrip("/")) for folder in _FOLDERS)
    return next(filter(None, candidates), [])


def _split_files(root: Root, folder: str) -> list[tuple[str, str]]:
    files: dict[str, str] = {}
    # CVDF's train.txt before its train.csv, which it calls incomplete; test.csv before the hold-out.
    for name in sorted(root.names(folder), key=lambda name: (not name.endswith(".txt"), "holdout" in name, name)):
        match = _FILE_NAME.fullmatch(name)
        path = f"{folder}/{name}" if folder else name
        if match is not None and root.has(path):
            files.setdefault(SPLIT_NAMES[match[1]], path)
    return [(split, files[split]) for split in SPLITS if split in files]


def read_rows(root: Root, annotations: Path | None) -> Iterator[Row]:
    """Yield the rows of all annotations; unusable ones carry the reason.

    The files are read twice so that only names are held in memory. Raises RawDataError for a file that is not an annotation
    file.
    """
    files = annotation_files(root, annotations)
    splits = _video_splits(_all_rows(files))
    seen: set[str] = set()
    for row in _all_rows(files):
        if row.reject_reason is None and splits[row.video] != row.split:
            row.reject_reason = f"its video is in {splits[row.video]} too"
        elif row.reject_reason is None and row.name in seen:
            row.reject_reason = "listed before"
        elif row.reject_reason is None:
            seen.add(row.name)
        yield row


def _whole_seconds(value: Any) -> int | None:
    """Return whole seconds, or None if ``value`` is not a time that the name of a file can have, in six digits."""
    try:
        seconds = _cells.seconds(value)
    except CellError:
        return None
    return None if seconds is None or seconds >= _MAX_SECONDS else int(seconds)


def _all_rows(files: Iterable[tuple[str, Path]]) -> Iterator[Row]:
    for split, path in files:
        yield from _json_rows(split, path) if path.suffix == ".json" else _csv_rows(split, path)


def _video_splits(rows: Iterable[Row]) -> dict[str, str]:
    """Return {video: its split}; a video in several splits stays in test, else in val."""
    precedence = {"test": 0, "val": 1, "train": 2}
    splits: dict[str, str] = {}
    for row in rows:
        if row.reject_reason is None and precedence[row.split] < precedence.get(splits.get(row.video, ""), 3):
            splits[row.video] = row.split
    return splits


def _csv_rows(split: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV, with or without labels. Raises RawDataError if it lacks a column."""
    records = _text_files.csv_records(path)
    names = [name.strip() for name in next(records, (1, []))[1]]
    absent = [name for name in ("youtube_id", "time_start", "time_end") if name not in names]
    if absent:
        raise RawDataError(
            f"{path} has no column {', '.join(absent)}; its first line is {','.join(names)[:80]!r}; "
            "expected label,youtube_id,time_start,time_end,split (use --annotations FILE to read another file)"
        )
    _text_files.check_columns(path, names)
    for number, fields in records:
        yield _row(dict(zip(names, fields, strict=False)), split, f"{path.name}, line {number}")


def _row(values: Mapping[str, Any], file_split: str, source: str) -> Row:
    texts = {}
    reject_reason: str | None = None
    for name in ("youtube_id", "label", "is_cc", "split"):
        try:
            texts[name] = _unquoted(_cells.name(values.get(name)))
        except CellError as error:
            texts[name] = ""
            if reject_reason is None:
                reject_reason, source = f"{name} {error}", f"{source} ({name} {error.value})"
    video = texts["youtube_id"]
    if not _VIDEO_ID.fullmatch(video):
        video, reject_reason = "", reject_reason or "no YouTube id of eleven characters"
    start, end = _whole_seconds(values.get("time_start")), _whole_seconds(values.get("time_end"))
    if start is None or end is None:
        reject_reason = reject_reason or "start or end is no number of seconds"
    elif end <= start:
        reject_reason = reject_reason or "ends before it starts"
    # The last word: a hold-out may be called holdout_test.
    split = SPLIT_NAMES.get(re.split("[_ -]", texts["split"].lower())[-1]) if texts["split"] else file_split
    if split is None:
        split, reject_reason = file_split, reject_reason or "split is none of train, val and test"
    is_cc = texts["is_cc"] or None
    return Row(source, split, video, (start or 0, end or 0), sys.intern(texts["label"]), is_cc, reject_reason)


def _unquoted(text: str) -> str:
    """Return a text without quotes around it, which some releases write twice; a quote that belongs to it stays."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1] else text


def _json_rows(split: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON file: {id: {"annotations": {"label": ..., "segment": [start, end]}, "subset": ...}}."""
    for number, (video, entry) in enumerate(_json_items.iter_items(path, nested=False), start=1):
        source = f"{path.name}, entry {number}"
        if not isinstance(entry, dict):
            raise RawDataError(f"{source}: expected an object with annotations, got {shown(entry)}")
        annotations = entry.get("annotations") or {}
        if not isinstance(annotations, dict):
            annotations = {"label": annotations}
        segment = annotations.get("segment")
        start, end = segment if isinstance(segment, list) and len(segment) == 2 else (None, None)
        values = {"youtube_id": video, "label": annotations.get("label"), "split": entry.get("subset") or split}
        values |= {"time_start": start, "time_end": end}
        yield _row(values, split, source)
