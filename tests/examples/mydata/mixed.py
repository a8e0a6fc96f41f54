"""Clips that differ in what a loader has to make one: length, size, rate, number of captions.

Every pixel says where it is: red is its frame, green its column, blue its row, each times four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t2vdata.datasets import Dataset
from t2vdata.types import Clip, Frames


@dataclass(frozen=True)
class MixedOptions:
    n: int = 24
    """Clips."""
    same: bool = False
    """Whether all clips have 12 frames of 40x32."""
    sides: bool = False
    """Whether captions mention left and right."""


class Mixed(Dataset):
    VERSION = 1
    SPLITS = ("train",)
    LICENCE = "CC0 1.0"
    CITATION = "none; made for tests"
    Options = MixedOptions
    options: MixedOptions

    def clips(self, split: str) -> Sequence[Clip]:
        sides = self.options.sides
        clips = []
        for number in range(self.options.n):
            side = "Left" if number % 2 else "right"
            # One caption for the first clip, two for the second, up to four.
            captions = [f"clip {number} in words {k}" for k in range(1 + number % 4)]
            if sides:
                captions = [f"{side} to the other side, clip {number}"]
            clips.append(Clip(f"{split}-{number:04d}", tuple(captions), group=str(number)))
        return clips

    def render(self, clip: Clip) -> Frames:
        number = 0 if self.options.same else int(clip.key[-4:])
        count, height, width, fps = 12 + number % 5, 32 + 2 * (number % 3), 40 + 4 * (number % 2), (10.0, 20.0)[number % 2]
        frames = np.empty((count, height, width, 3), np.uint8)
        frames[..., 0] = 4 * np.arange(count)[:, None, None]
        frames[..., 1] = 4 * np.arange(width)
        frames[..., 2] = 4 * np.arange(height)[:, None]
        return Frames(frames, fps)


DATASET = Mixed
