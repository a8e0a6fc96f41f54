"""Read the clips to score and their captions: from video files, arrays, or a split of a built dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from t2vdata.errors import ClipError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media.decode import open_video
from t2vdata.scoring import caption_file
from t2vdata.scoring.caption_file import CaptionFile
from t2vdata.scoring.clip_order import ENDINGS, clips_in
from t2vdata.scoring.motion import Video, grey
from t2vdata.scoring.progress import Progress, silent, tracked

_NPY_MAGIC = b"\x93NUMPY"


def read_split(path: str, split: str, *, num_clips: int | None = None) -> tuple[list[Video], list[str]]:
    """Return clips of a split and their first captions: ``num_clips``, evenly spaced, or all."""
    samples = open_dataset(path)[split]
    items = [samples[index] for index in evenly_spaced(len(samples), num_clips)]
    return [grey(item.frames.data) for item in items], [item.captions[0] for item in items]


def evenly_spaced(length: int, count: int | None) -> list[int]:
    """Return ``count`` evenly spaced indices of 0 .. length-1; all of them for None, or if there are fewer."""
    count = length if count is None else min(length, count)
    return [index * length // count for index in range(count)]


def read_files(path: str, captions: str, *, progress: Progress = silent) -> tuple[list[Video], list[str]]:
    """Return the clips of a folder of videos and arrays, or of one array (N, T, H, W) or (N, T, H, W, C), and their captions.

    ``captions`` is a csv or jsonl file that names the files, or a text file with one caption per line, in the order of the
    numbers in the file names (see clip_order.py). Raises RequestError if clips and captions do not match.
    """
    listed = caption_file.read(Path(captions))
    if os.path.isfile(path):
        if listed.files is not None:
            raise RequestError(f"{captions} names files, but {path} is one array; expected one caption per line")
        return list(_array(path)), listed.captions
    if not os.path.isdir(path):
        raise RequestError(f"{path} is neither a folder nor a .npy file")
    names = clips_in(path) if listed.files is None else _checked(path, listed)
    if not names:
        raise RequestError(f"no clips in {path}; expected files that end in {', '.join(ENDINGS)}")
    if len(names) != len(listed.captions):
        raise RequestError(
            f"{len(names)} clips in {path}, but {len(listed.captions)} captions in {captions}; expected one for each"
        )
    tracked_names = tracked(names, len(names), "reading your clips", progress)
    return [_clip(os.path.join(path, name)) for name in tracked_names], listed.captions


def _checked(path: str, listed: CaptionFile) -> list[str]:
    """Return the names in a list. Raises RequestError, with the line, for a file that does not exist."""
    names = listed.files or []
    for line, name in zip(listed.lines, names, strict=True):
        if not os.path.isfile(os.path.join(path, name)):
            raise RequestError(f"{listed.path}, line {line}: no file {name!r} in {path}")
    return names


def _clip(path: str) -> Video:
    if path.lower().endswith(".npy"):
        return _named_grey(path, _load(path))
    try:
        with open_video(path) as video:
            return _named_grey(path, video.frames_at(range(video.num_frames)))
    except ClipError as error:
        raise RequestError(f"{path}: {error}") from error


def _named_grey(path: str, pixels: Video) -> Video:
    try:
        return grey(pixels)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def _array(path: str) -> Sequence[Video]:
    clips = _load(path)
    if clips.ndim not in (4, 5):
        raise RequestError(f"{path} has shape {clips.shape}; expected (N, T, H, W) or (N, T, H, W, C)")
    return [_named_grey(path, clip) for clip in clips]


def _load(path: str) -> Video:
    try:
        with open(path, "rb") as file:
            if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
                raise ValueError("it does not begin as one")
        # Mapped first, so that a header that promises more than the file holds is refused before memory is reserved for it.
        # Then copied, because each map keeps a file open.
        return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not an array of numbers ({error}); expected a .npy file of uint8") from error
