"""Read the clips to score and their captions: from video files, arrays, or a split of a built dataset."""

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
_COLUMN_NAMES = {"file": ("file", "path", "video", "name"), "caption": ("caption", "text")}


def read_split(path: str, split: str, *, num_clips: int | None = None) -> tuple[list[Video], list[str]]:
    """Return clips of a split and their first captions: ``num_clips``, evenly spaced, or all."""
    samples = open_dataset(path)[split]
    items = [samples[index] for index in evenly_spaced(len(samples), num_clips)]
    return [grey(item.frames.data) for item in items], [item.captions[0] for item in items]


def evenly_spaced(length: int, count: int | None) -> list[int]:
    """Return ``count`` evenly spaced indices of 0 .. length-1; all of them for None, or if there are fewer."""
    count = length if count is None else min(length, count)
    return [index * length // count for index in range(count)]


def read_files(path: str, captions: str) -> tuple[list[Video], list[str]]:
    """Return the clips of a folder of videos and arrays, or of one array (N, T, H, W) or (N, T, H, W, C), and their captions.

    ``captions`` is a text file with one caption per line, in the order of the file names, or a csv or jsonl file that names the
    files. Raises RequestError if clips and captions do not match.
    """
    listed, texts = _captions(Path(captions))
    if os.path.isfile(path):
        if listed is not None:
            raise RequestError(f"{captions} names files, but {path} is one array; expected one caption per line")
        return list(_array(path)), texts
    if not os.path.isdir(path):
        raise RequestError(f"{path} is neither a folder nor a .npy file")
    names = listed or sorted(name for name in os.listdir(path) if name.lower().endswith((*_VIDEOS, ".npy")))
    if len(names) != len(texts):
        raise RequestError(f"{len(names)} clips in {path}, but {len(texts)} captions in {captions}; expected one for each")
    return [_clip(os.path.join(path, name)) for name in names], texts


def _clip(path: str) -> Video:
    if path.lower().endswith(".npy"):
        return grey(_load(path))
    with open_video(path) as video:
        return grey(video.frames_at(range(video.num_frames)))


def _array(path: str) -> Sequence[Video]:
    clips = _load(path)
    if clips.ndim not in (4, 5):
        raise RequestError(f"{path} has shape {clips.shape}; expected (N, T, H, W) or (N, T, H, W, C)")
    return [grey(clip) for clip in clips]


def _load(path: str) -> Video:
    try:
        array: Video = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not an array of numbers ({error}); expected a .npy file of uint8") from error
    return array


def _captions(path: Path) -> tuple[list[str] | None, list[str]]:
    """Return the file names of a list, None if it has none, and the captions."""
    if not path.is_file():
        raise RequestError(f"no file {path} (--captions)")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".txt":
        return None, [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix not in (".csv", ".jsonl"):
        raise RequestError(
            f"--captions {path}: expected .txt with one caption per line, or .csv or .jsonl with files and captions"
        )
    lines = text.splitlines()
    rows = list(csv.DictReader(lines)) if path.suffix == ".csv" else [json.loads(line) for line in lines if line.strip()]
    columns = {
        column: next((name for name in names if rows and name in rows[0]), None) for column, names in _COLUMN_NAMES.items()
    }
    if None in columns.values():
        header = ", ".join(rows[0]) if rows else "nothing"
        raise RequestError(f"--captions {path}: expected the columns file and caption; found {header}")
    return [str(row[columns["file"]]) for row in rows], [str(row[columns["caption"]]) for row in rows]
