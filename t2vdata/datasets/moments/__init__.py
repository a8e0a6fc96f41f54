"""Moments in Time, versions 1 and 2 and Mini: three seconds of one action each, with its category.

Read by the README of the release: ``trainingSet.csv`` and ``validationSet.csv`` without header (``filename,label,positive
responses,negative responses``), files below ``training/`` and ``validation/``, ids in ``moments_categories.txt``.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _root
from t2vdata.datasets import media as media_base
from t2vdata.datasets._packed import PackedClips
from t2vdata.datasets._root import Root
from t2vdata.datasets._splits import split_of
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.text import captions
from t2vdata.types import Clip, Frames

VERSION = 2
SPLITS = ("train", "val")
LICENCE = "Moments in Time's own (license.txt of the download, which must go with the data): for research without commerce."
CITATION = (
    "Mathew Monfort, Alex Andonian, Bolei Zhou et al.: Moments in Time Dataset: One Million Videos for Event Understanding. "
    "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2019."
)
EXAMPLE = "--root Moments_in_Time_Mini --frames 30"
TREE = """
Moments_in_Time_Mini/                           or Moments_in_Time_Raw, Moments_in_Time_256x256_30fps
  moments_categories.txt                        adult+female+singing,7
  trainingSet.csv, validationSet.csv            no header: category/file.mp4, category, positive and negative responses
  training/adult+female+singing/yt-jX-hTAlTcqY_15.mp4 ...
  validation/ ...
"""
RAW_FILES = (
    "in --root (Moments_in_Time_Raw, Moments_in_Time_Mini or Moments_in_Time_256x256_30fps): moments_categories.txt, "
    "trainingSet.csv, validationSet.csv, training/CATEGORY/NAME.mp4, validation/CATEGORY/NAME.mp4"
)

_TABLES = {"train": ("trainingSet.csv", "training"), "val": ("validationSet.csv", "validation")}
_CATEGORIES = "moments_categories.txt"
_SITE = "ask for the release at http://moments.csail.mit.edu/"
# The paper of --preset cglow (arXiv:1910.11106) is of Mini; its code counted the folder of all categories as the 201st.
_NUM_CGLOW = 200
_LONGEST_KEY = 66


@dataclass(frozen=True)
class Options(media_base.MediaOptions):
    preset: Literal["none", "cglow"] = "none"
    """`cglow` is the training set of Mini, its first 30 frames (--frames 30), dealt out 99:1 by --seed."""
    template: str = "{label}"
    """Caption made of the category, with blanks for its plus signs, such as "a video of {label}"."""


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be, or do not go together."""
    media_base.check(_with_preset(options))
    if "{label}" not in options.template:
        raise RequestError(f"--template {options.template!r}: expected {{label}} in it, as in 'a video of {{label}}'")


def missing(root: str | None, options: Options) -> str | None:
    """Return the first thing that is not there, with what is and where to get it, or None."""
    if root is None:
        return f"give it --root DIR; {RAW_FILES}"
    there = _root.of(root, anew=True)
    if (why := there.why_not()) is not None:
        return why
    if not there.has(_CATEGORIES):
        inner = next((one for one in there.names() if there.has(f"{one}/{_CATEGORIES}")), None)
        if inner is not None:
            return f"{root} holds {inner}; give --root {there.path(inner)}"
        outer = () if there.is_url else (one for one in Path(root).resolve().parents if (one / _CATEGORIES).is_file())
        if (place := next(iter(outer), None)) is not None:
            return f"{root} is within the release; give --root {place}"
    tables = [_CATEGORIES, *(_TABLES[split][0] for split in _official(options))]
    absent = [name for name in tables if not there.has(name)]
    absent += [folder for split in _official(options) if not there.has_folder(folder := _TABLES[split][1])]
    return f"no {absent[0]} in {root} ({there.shown()}); {_SITE}" if absent else media_base.missing(options)


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the tables and the categories. Media files are not read for it."""
    names = [_CATEGORIES, *(_TABLES[split][0] for split in _official(options))]
    there = _root.of(root)
    return {
        "files": [[name, hashlib.sha256(there.local(name).read_bytes()).hexdigest()] for name in names],
        "decoder": media_base.identity(options),
    }


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the clips of a split. Raises RawDataError for tables that cannot be understood."""
    content = f"{source(root, options)}, listing {_root.of(root).serial}"
    return _all_clips(root or ".", _with_preset(options), seed, content)[split]


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    return media_base.clip_filters(_with_preset(options))


def render(clip: Clip, options: Options) -> Frames:
    return media_base.render(clip, _with_preset(options))


def frame_size(options: Options) -> tuple[int, int] | None:
    return media_base.frame_size(options)


def _with_preset(options: Options) -> Options:
    return options if options.preset == "none" else replace(options, frames=options.frames or 30)


def _official(options: Options) -> tuple[str, ...]:
    """Return the official splits that are read; arXiv:1910.11106 left the validation set alone."""
    return SPLITS if options.preset == "none" else ("train",)


@dataclass(slots=True)
class _Row:
    where: str
    """``trainingSet.csv, line 7``"""
    split: str
    path: str
    """Below training/ or validation/: ``adult+female+singing/yt-jX-hTAlTcqY_15.mp4``."""
    label: str
    responses: tuple[int, int] | None
    """How many annotators said that it is the category, and that it is not."""
    why_not: str | None = None

    @property
    def video(self) -> str:
        """Return what the clip was cut from: the number that ends a name is the second at which it starts."""
        return re.sub(r"_\d+$", "", os.path.splitext(self.path.rsplit("/", 1)[-1])[0])


@functools.lru_cache(maxsize=1)
def _all_clips(root: str, options: Options, seed: int, content: str) -> dict[str, PackedClips]:
    """Return {split: clips}; read once for all splits, and again when the ``content`` has changed."""
    there = _root.of(root)
    ids = _categories(there.local(_CATEGORIES))
    rows = [row for split in _official(options) for row in _rows_of(split, there.local(_TABLES[split][0]))]
    if not rows:
        raise RawDataError(f"the tables of {root} have no rows")
    num_labels = len({row.label for row in rows if row.why_not is None})
    if options.preset == "cglow":
        if num_labels != _NUM_CGLOW:
            raise RawDataError(
                f"--preset cglow is of Moments in Time Mini, whose trainingSet.csv has {_NUM_CGLOW} categories; "
                f"that of {root} has {num_labels}"
            )
        # The paper's code took the order of the file system, which no two machines share.
        rows.sort(key=lambda row: row.path)
    _mark(rows, ids)
    keys = _Keys()
    made = {split: PackedClips(options.windows) for split in SPLITS}
    for row in rows:
        split = row.split if options.preset == "none" else split_of(row.video, seed, {"val": 0.01})
        made[split].add(_clip(row, keys.of(row), there, ids.get(row.label), options))
    made["train"].add_last(media_base.check_lists(options, (clip for some in made.values() for clip in some)))
    return made


def _mark(rows: Sequence[_Row], ids: Mapping[str, int]) -> None:
    """Say of a row that its category is unknown, that it stands there before, or that its video is in validation too."""
    held_out = {row.video for row in rows if row.split == "val" and row.why_not is None}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if row.why_not is not None:
            continue
        if row.label not in ids:
            row.why_not = f"category not in {_CATEGORIES}"
        elif (row.split, row.path) in seen:
            row.why_not = "listed before"
        elif row.split == "train" and row.video in held_out:
            row.why_not = "its video is in val too"
        seen.add((row.split, row.path))


def _clip(row: _Row, key: str, root: Root, label_id: int | None, options: Options) -> Clip:
    said = options.template.replace("{label}", captions.clean(row.label.replace("+", " ")))
    path = f"{_TABLES[row.split][1]}/{row.path}"
    meta = {
        "label": row.label or None,
        "label_id": label_id,
        "positive_responses": row.responses[0] if row.responses else None,
        "negative_responses": row.responses[1] if row.responses else None,
    }
    return Clip(
        key,
        # A row without a category has a reason of its own; without a caption it would be counted as that.
        media_base.caption_filter(options).kept((said or "-",)),
        media=root.media(path),
        group=row.video or row.where,
        meta={name: value for name, value in meta.items() if value is not None},
        source=row.where,
        reject_reason=row.why_not,
    )


def _rows_of(split: str, path: Path) -> Iterator[_Row]:
    """Yield the rows of a table without header."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        for fields in reader:
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            where = f"{path.name}, line {reader.line_num}"
            if len(fields) != 4:
                yield _Row(where, split, "", "", None, "a row of other than 4 fields")
                continue
            name, label, positive, negative = fields
            counts = (int(positive), int(negative)) if positive.isdecimal() and negative.isdecimal() else None
            # A name is a category and a file; one that climbs out of the folder is none.
            sound = re.fullmatch(r"[^/\\]+/[^/\\]+", name) is not None and not name.startswith("..")
            yield _Row(where, split, name, label, counts, None if sound else "no category/file.mp4")


def _categories(path: Path) -> dict[str, int]:
    """Return {category: its official id}. Raises RawDataError with the line for what cannot be read."""
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        label, _, index = line.strip().rpartition(",")
        if line.strip() and (not label or not index.strip().isdecimal()):
            raise RawDataError(f"{path}, line {number}: expected 'label,index', got {line[:60]!r}")
        if line.strip():
            found[label] = int(index)
    if not found:
        raise RawDataError(f"{path} is empty; expected a line 'label,index' for each category")
    return found


class _Keys:
    """A legal key for each clip, the same whatever other clips there are, but for two that would share one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, row: _Row) -> str:
        told = os.path.splitext(row.path)[0].replace("/", "_").replace("+", "_")
        if row.why_not is not None:
            told = f"row {row.where}"
        key = re.sub(r"[^A-Za-z0-9_-]", "_", told)
        if key != told or len(key) > _LONGEST_KEY or key in self._taken:
            digest = hashlib.sha256(f"{row.path}\n{row.where if row.why_not else row.split}".encode()).hexdigest()
            key = f"{key[: _LONGEST_KEY - 9]}-{digest[:8]}"
        self._taken.add(key)
        return key
