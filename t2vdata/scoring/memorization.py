"""Detect memorization: how near generated digits are to training digits, compared with real digits unseen in training.

The digit of a clip comes from the middle one of its non-blank frames, cropped as for the digit network (centred, at one size)
and normalised to length 1: position, size and brightness do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.scoring import digit_classifier
from t2vdata.scoring.motion import Video, is_blank
from t2vdata.scoring.proportion import Proportion

Digits = NDArray[np.float32]

_BATCH_SIZE = 1024
# A digit counts as copied if it is nearer than this quantile of unseen digits.
_NEAREST_SHARE = 0.01


@dataclass(frozen=True)
class Memorization:
    """How near the digits of clips are to training digits."""

    ratio: float
    """Median distance to the nearest training digit, divided by that of unseen real digits: 1 for these, 0 for copies."""
    copied: Proportion
    """Clips nearer to training than the nearest 1 % of unseen real digits."""

    def as_json(self) -> dict[str, Any]:
        return {"ratio": self.ratio, "copied": self.copied.as_json()}


def digits_of(videos: Iterable[Video]) -> Digits:
    """Return the digits of clips (T, H, W) uint8 as (N, 576) of length 1; blank clips are left out."""
    batches: list[Digits] = []
    pending: list[Video] = []
    for video in videos:
        frame = _middle_frame(video)
        if frame is None:
            continue
        # Clips of one dataset have one size, so they share batches.
        if pending and (len(pending) == _BATCH_SIZE or pending[0].shape != frame.shape):
            batches.append(_crop(pending))
            pending = []
        pending.append(frame)
    return np.concatenate(
        [np.zeros((0, digit_classifier.SIDE**2), np.float32), *batches, *([_crop(pending)] if pending else [])]
    )


def nearest_distances(digits: Digits, known: Digits) -> NDArray[np.float32]:
    """Return the Euclidean distance (N,) of each digit to the nearest known digit."""
    closest = [(digits[first : first + _BATCH_SIZE] @ known.T).max(axis=1) for first in range(0, len(digits), _BATCH_SIZE)]
    cosines = np.concatenate([np.zeros(0, np.float32), *closest])
    # For vectors of length 1; below 1e-5 is rounding.
    squares = 2 - 2 * cosines
    return np.sqrt(np.where(squares < 1e-5, 0, squares)).astype(np.float32)


def measure(distances: NDArray[np.float32], unseen: NDArray[np.float32]) -> Memorization | None:
    """Compare the ``nearest_distances`` of digits with those of unseen real digits.

    None if there is nothing to compare: no digits, or unseen digits that are training digits themselves.
    """
    if not len(distances) or not len(unseen) or not np.median(unseen):
        return None
    threshold = np.quantile(unseen, _NEAREST_SHARE)
    return Memorization(
        float(np.median(distances) / np.median(unseen)), Proportion(int((distances < threshold).sum()), len(distances))
    )


def _middle_frame(video: Video) -> Video | None:
    visible = np.flatnonzero(~is_blank(video))
    return video[visible[len(visible) // 2]] if len(visible) else None


def _crop(frames: list[Video]) -> Digits:
    flat = digit_classifier.crops(np.stack(frames)).flatten(1).numpy()
    normalized: Digits = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return normalized
