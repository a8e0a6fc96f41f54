"""First frames that clips go on from: of a picture or video file, or of real clips with the same captions."""

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


def of_file(path: Path, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Return a file's first frame as clips (C, T, H, W) have theirs, (C, H, W) uint8.

    Where clips are square, a frame of another size is brought to theirs as builds do it: the shorter side, then the middle.
    Raises RequestError for a file that cannot be read, and for a frame that does not fit clips that are not square.
    """
    channels, _, height, width = shape
    if not path.is_file():
        raise RequestError(f"--first {path}: no such file; expected a picture or a video")
    try:
        request = ClipRequest(num_frames=1, size=height if height == width else None)
        found = read_clip(os.path.abspath(path), request).data[:1]
    except DecodeError as error:
        raise RequestError(f"--first {path}: {error}; expected a picture or a video") from error
    if found.shape[1:3] != (height, width):
        raise RequestError(
            f"--first {path} is {found.shape[2]}x{found.shape[1]}, the model's clips are {width}x{height}; scale it to that"
        )
    return torch.tensor(with_channels(found, channels)[0]).permute(2, 0, 1)


def of_split(recipe: Recipe, dataset: Dataset, split: str, captions: Sequence[str], *, seed: int) -> torch.Tensor:
    """Return the first frame of a real clip for each caption, (N, C, H, W) uint8, in the size that the recipe loads.

    No clip is taken twice; which ones, the seed decides. Raises RequestError where too few clips have a caption.
    """
    rows = _rows(dataset, split, captions, seed)
    spec = dataclasses.replace(
        recipe.load, num_frames=1, stride=1, fps=None, start="first", flip=False, dtype="uint8", on_error="raise"
    )
    with loader(dataset[split], spec, seed=seed, rank=0, world=1) as reading:
        parts = [rows[first : first + spec.batch_size] for first in range(0, len(rows), spec.batch_size)]
        # Copied out of the loader's memory.
        return torch.cat([batch.video[:, :, 0].clone() for batch in reading.read(parts, epoch=0) if batch is not None])


def _rows(dataset: Dataset, split: str, captions: Sequence[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the number of a clip for each caption, (N,)."""
    shards = dataset.manifest.shard_range(dataset[split].name)
    told = tables.read_index(dataset.path, ["captions"], shards=shards)["captions"].to_pylist()
    wanted = Counter(captions)
    found: dict[str, list[int]] = {caption: [] for caption in wanted}
    for row, texts in enumerate(told):
        for caption in wanted.keys() & set(texts):
            found[caption].append(row)
    for caption, number in wanted.items():
        if len(found[caption]) < number:
            close = None if found[caption] else nearest(caption, sorted({text for texts in told for text in texts}))
            hint = f"the nearest caption there is {close!r}, and " if close else "take fewer with --n, or another split: "
            raise RequestError(
                f"--first-from {split}: {len(found[caption])} clips of {caption!r}, expected {number}; "
                f"{hint}splits are {', '.join(dataset.splits)}"
            )
    shuffled = {caption: iter(np.random.default_rng([seed]).permutation(rows)) for caption, rows in found.items()}
    return np.array([next(shuffled[caption]) for caption in captions], np.int64)
