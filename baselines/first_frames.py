"""First frames for clips to continue: from a picture or video file, or from real clips with the same captions."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from baselines.recipe import Recipe
from t2vdata.errors import DecodeError, RequestError, nearest
from t2vdata.format import tables
from t2vdata.format.dataset import Dataset
from t2vdata.loading import loader
from t2vdata.loading.decoding import with_channels
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest


def from_file(path: Path, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Return the first frame of a file in the size of clips (C, T, H, W): (C, H, W) uint8.

    For square clips, another size is resized as builds do it: the shorter side first, then a center crop. Raises RequestError
    for an unreadable file, and for another size if clips are not square.
    """
    channels, _, height, width = shape
    if not path.is_file():
        raise RequestError(f"--first {path}: no such file; expected a picture or a video")
    request = ClipRequest(num_frames=1, size=height if height == width else None)
    try:
        frame = read_clip(os.path.abspath(path), request).data[:1]
    except DecodeError as error:
        raise RequestError(f"--first {path}: {error}; expected a picture or a video") from error
    if frame.shape[1:3] != (height, width):
        raise RequestError(
            f"--first {path} is {frame.shape[2]}x{frame.shape[1]}, the model's clips are {width}x{height}; resize it to that"
        )
    return torch.tensor(with_channels(frame, channels)[0]).permute(2, 0, 1)


def from_split(recipe: Recipe, dataset: Dataset, split: str, captions: Sequence[str], *, seed: int) -> torch.Tensor:
    """Return the first frame of a real clip for each caption, (N, C, H, W) uint8, in the size that the recipe loads.

    No clip is used twice; the seed determines which clips. Raises RequestError if too few clips have a caption.
    """
    rows = _rows(dataset, split, captions, seed)
    spec = dataclasses.replace(
        recipe.load, num_frames=1, stride=1, fps=None, start="first", flip=False, dtype="uint8", on_error="raise"
    )
    with loader(dataset[split], spec, seed=seed, rank=0, world=1) as reading:
        parts = [rows[start : start + spec.batch_size] for start in range(0, len(rows), spec.batch_size)]
        # Copied out of the loader's buffers.
        return torch.cat([batch.video[:, :, 0].clone() for batch in reading.read(parts, epoch=0) if batch is not None])


def _rows(dataset: Dataset, split: str, captions: Sequence[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the row of a clip for each caption, (N,)."""
    shards = dataset.manifest.shard_range(dataset[split].name)
    captions_by_row = tables.read_index(dataset.path, ["captions"], shards=shards)["captions"].to_pylist()
    counts = Counter(captions)
    rows_of: dict[str, list[int]] = {caption: [] for caption in counts}
    for row, row_captions in enumerate(captions_by_row):
        for caption in counts.keys() & set(row_captions):
            rows_of[caption].append(row)
    for caption, count in counts.items():
        if len(rows_of[caption]) < count:
            all_captions = sorted({text for row_captions in captions_by_row for text in row_captions})
            close = None if rows_of[caption] else nearest(caption, all_captions)
            hint = f"the nearest caption is {close!r}, and " if close else "use fewer with --n, or another split: "
            raise RequestError(
                f"--first-from {split}: {len(rows_of[caption])} clips of {caption!r}, expected {count}; "
                f"{hint}splits are {', '.join(dataset.splits)}"
            )
    shuffled = {caption: iter(np.random.default_rng([seed]).permutation(rows)) for caption, rows in rows_of.items()}
    return np.array([next(shuffled[caption]) for caption in captions], np.int64)
