"""Clips to be scored, from whatever a model has written: files of any kind, arrays, or a dataset of ours."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media.decode import open_video
from t2vdata.scoring.motion import Video, grey

_VIDEOS = (".mp4", ".gif", ".avi", ".mkv", ".webm", ".mov")
_USUAL = {"file": ("file", "path", "video", "name"), "caption": ("caption", "text")}


def of_dataset(path: str, split: str, *, num_clips: int | None = None) -> tuple[list[Video], list[str]]:
    """Return clips of a split of a dataset, evenly chosen where not all are wanted, and their first captions."""
    found = open_dataset(path)[split]
    items = [found[place] for place in evenly(len(found), num_clips)]
    return [grey(item.frames.data) for item in items], [item.captions[0] for item in items]


def evenly(length: int, number: int | None) -> list[int]:
    """Return so many of 0 .. length-1, at even steps; all of them for None, or where there are no more."""
    number = length if number is None else min(length, number)
    return [place * length // number for place in range(number)]


def of_files(path: str, captions: str) -> tuple[list[Video], list[str]]:
    """Return the clips of a folder of videos and arrays, or of one array (N, T, H, W) or (N, T, H, W, C), and their captions.

    ``captions`` is a text file with one a line, in the order of the file names, or a csv or jsonl file that names the files.
    Raises RequestError for what does not go together.
    """
    named, texts = _captions(Path(captions))
    if os.path.isfile(path):
        if named is not None:
            raise RequestError(f"{captions} names files, but {path} is one array; expected a caption a line")
        return list(_array(path)), texts
    if not os.path.isdir(path):
        raise RequestError(f"no folder and no .npy file {path}")
    names = named or sorted(name for name in os.listdir(path) if name.lower().endswith((*_VIDEOS, ".npy")))
    if len(names) != len(texts):
        raise RequestError(f"{len(names)} clips in {path}, but {len(texts)} captions in {captions}; expected one for each")
    return [_clip(os.path.join(path, name)) for name in names], texts


def _clip(path: str) -> Video:
    if path.lower().endswith(".npy"):
        return grey(_loaded(path))
    with open_video(path) as video:
        return grey(video.frames_at(range(video.num_frames)))


def _array(path: str) -> Sequence[Video]:
    clips = _loaded(path)
    if clips.ndim not in (4, 5):
        raise RequestError(f"{path} has shape {clips.shape}; expected (N, T, H, W) or (N, T, H, W, C)")
    return [grey(clip) for clip in clips]


def _loaded(path: str) -> Video:
    try:
        found: Video = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is no array of numbers ({error}); expected a .npy file of uint8") from error
    return found


def _captions(path: Path) -> tuple[list[str] | None, list[str]]:
    """Return the files that a list names, if it does, and the captions."""
    if not path.is_file():
        raise RequestError(f"no file {path} (--captions)")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".txt":
        return None, [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix not in (".csv", ".jsonl"):
        raise RequestError(f"--captions {path}: expected .txt with a caption a line, or .csv or .jsonl with files and captions")
    lines = text.splitlines()
    rows = list(csv.DictReader(lines)) if path.suffix == ".csv" else [json.loads(line) for line in lines if line.strip()]
    columns = {what: next((name for name in usual if rows and name in rows[0]), None) for what, usual in _USUAL.items()}
    if None in columns.values():
        there = ", ".join(rows[0]) if rows else "nothing"
        raise RequestError(f"--captions {path}: expected the columns file and caption; there is {there}")
    return [str(row[columns["file"]]) for row in rows], [str(row[columns["caption"]]) for row in rows]
