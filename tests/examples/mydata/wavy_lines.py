"""Lines that wave slowly or fast.

The example of docs/add-a-dataset.md: a dataset of its own module, drawn rather than decoded, with an option, filters for
clips and for frames, and a clip that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t2vdata.errors import RenderError, RequestError
from t2vdata.filters import CaptionLength, ClipFilter, FrameFilter, Moving
from t2vdata.types import Clip, Frames

VERSION = 1
SPLITS = ("train", "test")
LICENCE = "CC0 1.0"
CITATION = "none; an example"


@dataclass(frozen=True)
class Options:
    n: int = 20
    """Clips in each split."""
    frames: int = 8
    """Frames in a clip."""


def check(options: Options) -> None:
    if options.n < 1:
        raise RequestError(f"--n {options.n}: expected 1 clip or more")


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    made = []
    for number in range(options.n):
        speed = number % 3
        caption = ["a line stands still", "a line waves slowly", "a line waves fast"][speed]
        if number % 10 == 9:
            caption += ", as somebody has described at a length that no model would want to read"
        key = f"{split}-{number:04d}"
        made.append(Clip(key, (caption,), group=key, meta={"label": str(speed), "speed": speed, "seed": seed}))
    return made


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    return [CaptionLength(max_chars=60)], [Moving(min_difference=0.5)]


def render(clip: Clip, options: Options) -> Frames:
    if clip.key.endswith("0004"):
        raise RenderError("the pen broke")
    x = np.arange(32)
    frames = np.zeros((options.frames, 32, 32, 3), np.uint8)
    for t in range(options.frames):
        # A triangle in whole numbers, which is the same on every machine; a sine is not.
        y = 12 + np.abs((x + 3 * t * clip.meta["speed"]) % 16 - 8)
        frames[t, y, x] = (255, 200, 0)
    return Frames(frames, fps=10.0)
