"""Lines that wave slowly or fast.

The example of docs/add-a-dataset.md: a dataset in its own module, drawn rather than decoded, with an option, filters for
clips and for frames, and a clip that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t2vdata.datasets import Dataset
from t2vdata.errors import RenderError, RequestError
from t2vdata.filters import CaptionLength, ClipFilter, FrameFilter, Moving
from t2vdata.types import Clip, Frames


@dataclass(frozen=True)
class WavyLinesOptions:
    n: int = 20
    """Clips in each split."""
    frames: int = 8
    """Frames in a clip."""


class WavyLines(Dataset):
    VERSION = 1
    SPLITS = ("train", "test")
    LICENCE = "CC0 1.0"
    CITATION = "none; an example"
    Options = WavyLinesOptions
    options: WavyLinesOptions

    @staticmethod
    def check(options: WavyLinesOptions) -> None:
        if options.n < 1:
            raise RequestError(f"--n {options.n}: expected 1 clip or more")

    def clips(self, split: str) -> Sequence[Clip]:
        clips = []
        for number in range(self.options.n):
            speed = number % 3
            caption = ["a line stands still", "a line waves slowly", "a line waves fast"][speed]
            if number % 10 == 9:
                caption += ", as somebody has described at a length that no model would want to read"
            key = f"{split}-{number:04d}"
            meta = {"label": str(speed), "speed": speed, "seed": self.seed}
            clips.append(Clip(key, (caption,), group=key, meta=meta))
        return clips

    def clip_filters(self) -> Sequence[ClipFilter]:
        return [CaptionLength(max_chars=60)]

    def frame_filters(self) -> Sequence[FrameFilter]:
        return [Moving(min_difference=0.5)]

    def render(self, clip: Clip) -> Frames:
        if clip.key.endswith("0004"):
            raise RenderError("the pen broke")
        x = np.arange(32)
        frames = np.zeros((self.options.frames, 32, 32, 3), np.uint8)
        for t in range(self.options.frames):
            # A triangle wave of whole numbers, the same on every machine; a sine is not.
            y = 12 + np.abs((x + 3 * t * clip.meta["speed"]) % 16 - 8)
            frames[t, y, x] = (255, 200, 0)
        return Frames(frames, fps=10.0)


DATASET = WavyLines
