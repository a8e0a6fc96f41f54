"""Annotations of Kinetics: the CSVs of all its releases, with labels and without, and the JSON files of DeepMind's archive."""

from __future__ import annotations

import csv
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2vdata.datasets import _json_items, _root
from t2vdata.datasets._root import Root
from t2vdata.errors import RawDataError
from t2vdata.text import captions as texts

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
# train.csv, validate.csv, kinetics-400_val.csv, kinetics600_holdout_test.csv
_ANNOTATIONS = re.compile(
    r"(?:k(?:inetics)?[-_]?(?:[467]00)?(?:[-_]2020)?[-_])?(?:holdout[-_])?(train|val|validate|validation|test)\.(?:csv|txt|json)"
)
_PLACES = ("annotations", "annotations/deepmind", "", "kinetics400", "kinetics600", "kinetics700", "kinetics700_2020")
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(slots=True)
class Row:
    """A row of the annotations."""

    where: str
    """``train.csv, line 7``"""
    split: str
    video: str
    span: tuple[int, int]
    label: str
    is_cc: str | None
    why_not: str | None = None

    @property
    def name(self) -> str:
        """Return the name of its file, without the ending."""
        return f"{self.video}_{self.span[0]:06d}_{self.span[1]:06d}"


def files(root: str | None, annotations: Path | None) -> list[tuple[str, Path]]:
    """Return (split, file) of the annotations; the first folder that has any counts."""
    if annotations is not None and annotations.is_file():
        told = _ANNOTATIONS.fullmatch(annotations.name)
        return [(_SPLIT_NAMES[told[1]] if told else "train", annotations)]
    if annotations is not None:
        return [(split, annotations / name) for split, name in _of_splits(_root.Root(str(annotations)), "")]
    there = _root.of(root)
    return [(split, there.local(name)) for split, name in names(there)]


def names(root: Root, below: str = "") -> list[tuple[str, str]]:
    """Return (split, name in the root) of the annotations of a root, or of one that lies ``below`` it."""
    inner = f"{below}/" if below else ""
    found = (_of_splits(root, f"{inner}{place}".rstrip("/")) for place in _PLACES)
    return next(filter(None, found), [])


def _of_splits(root: Root, place: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    # CVDF's train.txt before its train.csv, which it calls incomplete; test.csv before the hold-out.
    for name in sorted(root.names(place), key=lambda name: (not name.endswith(".txt"), "holdout" in name, name)):
        told = _ANNOTATIONS.fullmatch(name)
        whole = f"{place}/{name}" if place else name
        if told is not None and root.has(whole):
            found.setdefault(_SPLIT_NAMES[told[1]], whole)
    return [(split, found[split]) for split in SPLITS if split in found]


def rows(root: str | None, annotations: Path | None) -> Iterator[Row]:
    """Yield the rows of all annotations, those that cannot be used with the reason.

    The files are read twice, and no more of them is held than names. Raises RawDataError for a file that is none.
    """
    told = files(root, annotations)
    read = functools.partial(_all_rows, told)
    splits = _first_splits(read())
    seen: set[str] = set()
    for row in read():
        if row.why_not is None and splits[row.video] != row.split:
            row.why_not = f"its video is in {splits[row.video]} too"
        elif row.why_not is None and row.name in seen:
            row.why_not = "listed before"
        elif row.why_not is None:
            seen.add(row.name)
        yield row


def number(value: Any) -> int | None:
    """Return whole seconds, or None for what is no number."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _all_rows(told: Iterable[tuple[str, Path]]) -> Iterator[Row]:
    for split, path in told:
        yield from _json_rows(split, path) if path.suffix == ".json" else _csv_rows(split, path)


def _first_splits(rows: Iterable[Row]) -> dict[str, str]:
    """Return {video: its split}; one that is in two stays in test, else in val."""
    place = {"test": 0, "val": 1, "train": 2}
    first: dict[str, str] = {}
    for row in rows:
        if row.why_not is None and place[row.split] < place.get(first.get(row.video, ""), 3):
            first[row.video] = row.split
    return first


def _csv_rows(split: str, path: Path) -> Iterator[Row]:
    """Yield the rows of an annotation file, with or without labels. Raises RawDataError for a file that is none."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        lacking = [name for name in ("youtube_id", "time_start", "time_end") if name not in names]
        if lacking:
            raise RawDataError(
                f"{path} has no column {', '.join(lacking)}; its first line is {','.join(names)[:80]!r}; "
                "expected label,youtube_id,time_start,time_end,split (say --annotations FILE to read another)"
            )
        for fields in reader:
            if any(field.strip() for field in fields):
                values = dict(zip(names, (field.strip().strip('"') for field in fields), strict=False))
                yield _row(values, split, f"{path.name}, line {reader.line_num}")


def _row(values: Mapping[str, Any], split: str, where: str) -> Row:
    video, label, is_cc = values.get("youtube_id", ""), values.get("label", ""), values.get("is_cc")
    why_not = None if _VIDEO.fullmatch(video) else "no YouTube id of eleven characters"
    start, end = number(values.get("time_start")), number(values.get("time_end"))
    if start is None or end is None:
        why_not = why_not or "start or end is no number of seconds"
    elif end <= start:
        why_not = why_not or "ends before it starts"
    own = _SPLIT_NAMES.get(values.get("split", "").lower(), split)
    return Row(where, own, video, (start or 0, end or 0), sys.intern(texts.clean(label)), is_cc or None, why_not)


def _json_rows(split: str, path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON file: {id: {"annotations": {"label": ..., "segment": [start, end]}, "subset": ...}}."""
    for place, (video, told) in enumerate(_json_items.items(path, nested=False), start=1):
        where = f"{path.name}, entry {place}"
        if not isinstance(told, dict):
            raise RawDataError(f"{where}: expected an object with annotations, got {str(told)[:60]!r}")
        about = told.get("annotations") or {}
        segment = [*(about.get("segment") or []), None, None]
        values = {"youtube_id": video, "label": about.get("label") or "", "split": told.get("subset") or split}
        values |= {"time_start": segment[0], "time_end": segment[1]}
        yield _row(values, split, where)
