"""Clips that differ in what a loader has to make one: length, size, rate, number of captions.

Every pixel says where it is: red is its frame, green its column, blue its row, each times four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t2vdata.types import Clip, Frames

VERSION = 1
SPLITS = ("train",)
LICENCE = "CC0 1.0"
CITATION = "none; made for tests"


@dataclass(frozen=True)
class Options:
    n: int = 24
    """Clips."""
    same: bool = False
    """Whether all clips have 12 frames of 40x32."""
    sides: bool = False
    """Whether captions speak of left and right."""


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    made = []
    for number in range(options.n):
        way = "Left" if number % 2 else "right"
        words = [
            f"{way} to the other side, clip {number}" if options.sides else f"clip {number} in words {k}" for k in range(4)
        ]
        # One caption for the first clip, two for the second, up to four.
        made.append(Clip(f"{split}-{number:04d}", tuple(words[: 1 if options.sides else 1 + number % 4]), group=str(number)))
    return made


def render(clip: Clip, options: Options) -> Frames:
    number = 0 if options.same else int(clip.key[-4:])
    count, height, width, fps = 12 + number % 5, 32 + 2 * (number % 3), 40 + 4 * (number % 2), (10.0, 20.0)[number % 2]
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[..., 0] = 4 * np.arange(count)[:, None, None]
    frames[..., 1] = 4 * np.arange(width)
    frames[..., 2] = 4 * np.arange(height)[:, None]
    return Frames(frames, fps)
