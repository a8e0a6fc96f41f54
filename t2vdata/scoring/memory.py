"""Whether digits are copied: how near they are to those of the training clips, beside real digits that training never saw.

A clip's digit is that of the middle one of its frames with something to see, cut as for the digit network, with its centre of
mass in the middle and its box at one size, and brought to length 1: where it stands, how large and how bright it is does not
count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.scoring import digits
from t2vdata.scoring.motion import Video, blank
from t2vdata.scoring.shares import Share

Digits = NDArray[np.float32]

_AT_ONCE = 1024
# Of unseen digits: nearer than all but these is as near as hardly any.
_NEAREST_SHARE = 0.01


@dataclass(frozen=True)
class Memory:
    """How near clips' digits are to training digits."""

    ratio: float
    """Median distance to the nearest training digit, over that of unseen real digits: 1 for those, 0 for copies."""
    copied: Share
    """Clips that are nearer than the nearest hundredth of unseen real digits."""

    def as_json(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "copied": self.copied.as_json()}


def digits_of(videos: Iterable[Video]) -> Digits:
    """Return the digits of clips (T, H, W) uint8 as (N, 784) of length 1; clips with nothing to see have none."""
    found: list[Digits] = []
    waiting: list[Video] = []
    for video in videos:
        frame = _middle(video)
        if frame is None:
            continue
        # Clips of one dataset are of one size: they go together.
        if waiting and (len(waiting) == _AT_ONCE or waiting[0].shape != frame.shape):
            found.append(_cut(waiting))
            waiting = []
        waiting.append(frame)
    return np.concatenate([np.zeros((0, digits.SIDE**2), np.float32), *found, *([_cut(waiting)] if waiting else [])])


def nearest(some: Digits, known: Digits) -> NDArray[np.float32]:
    """Return the Euclidean distance (N,) of each digit to the nearest of the known."""
    closest = [(some[first : first + _AT_ONCE] @ known.T).max(axis=1) for first in range(0, len(some), _AT_ONCE)]
    likeness = np.concatenate([np.zeros(0, np.float32), *closest])
    # Of vectors of length 1; less than 1e-5 is rounding.
    squares = 2 - 2 * likeness
    return np.sqrt(np.where(squares < 1e-5, 0, squares)).astype(np.float32)


def memory(distances: NDArray[np.float32], unseen: NDArray[np.float32]) -> Memory | None:
    """Return how near digits are, from what ``nearest`` says of them and of unseen real ones.

    None where there is nothing to compare: no digit, or unseen ones that are training digits themselves.
    """
    if not len(distances) or not len(unseen) or not np.median(unseen):
        return None
    edge = np.quantile(unseen, _NEAREST_SHARE)
    return Memory(float(np.median(distances) / np.median(unseen)), Share(int((distances < edge).sum()), len(distances)))


def _middle(video: Video) -> Video | None:
    seen = np.flatnonzero(~blank(video))
    return video[seen[len(seen) // 2]] if len(seen) else None


def _cut(frames: list[Video]) -> Digits:
    flat = digits.crops(np.stack(frames)).flatten(1).numpy()
    found: Digits = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return found
