"""Where the digit of a clip goes, measured: no network, no training.

The place of a digit is the centre of mass of the pixels that are bright, those over 30 % of the brightest in their frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError

Video = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Of 255: a frame whose brightest pixel is darker is blank.
_DARK = 40
_BRIGHT_SHARE = 0.3
# Of the frame's side: what moves less stands still.
_STILL = 0.03
# Of the range along the way: so far from the start, or back from a turn, is a movement and no trembling.
_MOVED = 0.15
# Where the side way is over half of the way, there is no axis.
_MOST_ASIDE = 0.5


@dataclass(frozen=True)
class Motion:
    """How the digit of a clip moves. Lengths are in pixels."""

    axis: str | None
    """``vertical``, ``horizontal``, or None for a clip that does not move, or goes anywhere."""
    direction: str | None
    """Where it goes first: ``up``, ``down``, ``left``, ``right``, or None."""
    reversals: int
    speed: float
    """Pixels a frame, on average."""
    jitter: float
    """Standard deviation across the axis."""
    num_blank: int
    """Frames without anything to see."""


@dataclass(frozen=True)
class Places:
    """Where the bright pixels of each frame are: arrays (N,), in pixels."""

    top: Floats
    bottom: Floats
    left: Floats
    right: Floats
    row: Floats
    """Centre of mass."""
    column: Floats
    is_blank: NDArray[np.bool_]


def grey(video: NDArray[Any]) -> Video:
    """Return a clip (T, H, W) or (T, H, W, 1 or 3) uint8 in grey, (T, H, W). Raises RequestError for anything else."""
    if (
        video.dtype != np.uint8
        or video.ndim not in (3, 4)
        or 0 in video.shape
        or (video.ndim == 4 and video.shape[3] not in (1, 3))
    ):
        raise RequestError(f"a clip of shape {video.shape} {video.dtype}; expected (T, H, W) or (T, H, W, 1 or 3) uint8")
    if video.ndim == 3:
        return video
    # ITU-R BT.601, in integers.
    return video[..., 0] if video.shape[3] == 1 else ((video @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)


def places(frames: Video) -> Places:
    """Return where the bright pixels of frames (N, H, W) uint8 are; of a blank frame the whole frame."""
    _, height, width = frames.shape
    peak = _peaks(frames)
    is_blank: NDArray[np.bool_] = np.asarray(peak < _DARK)
    bright: NDArray[np.bool_] = np.asarray(frames > (_BRIGHT_SHARE * peak)[:, None, None])
    bright |= is_blank[:, None, None]
    mass = np.where(bright, np.maximum(frames, 1), 0).astype(np.float64)
    rows, columns = mass.sum(axis=2), mass.sum(axis=1)
    total = rows.sum(axis=1)
    in_rows: NDArray[np.bool_] = np.asarray(bright.any(axis=2))
    in_columns: NDArray[np.bool_] = np.asarray(bright.any(axis=1))
    return Places(
        top=in_rows.argmax(axis=1).astype(float),
        bottom=height - in_rows[:, ::-1].argmax(axis=1).astype(float),
        left=in_columns.argmax(axis=1).astype(float),
        right=width - in_columns[:, ::-1].argmax(axis=1).astype(float),
        row=(rows * (np.arange(height) + 0.5)).sum(axis=1) / total,
        column=(columns * (np.arange(width) + 0.5)).sum(axis=1) / total,
        is_blank=is_blank,
    )


def blank(frames: Video) -> NDArray[np.bool_]:
    """Return which frames (N, H, W) uint8 have nothing to see: (N,)."""
    return np.asarray(_peaks(frames) < _DARK)


def judge(video: Video) -> Motion:
    """Return how the digit of a clip (T, H, W) uint8 moves."""
    where = places(video)
    seen = ~where.is_blank
    num_blank = int(where.is_blank.sum())
    path = np.stack([where.row[seen], where.column[seen]], axis=1)
    if len(path) < 2:
        return Motion(None, None, 0, 0.0, 0.0, num_blank)
    ranges = np.ptp(path, axis=0)
    along = int(ranges.argmax())
    moves = path[:, along]
    speed = float(np.abs(np.diff(moves)).mean())
    jitter = float(path[:, 1 - along].std())
    if ranges[along] < _STILL * max(video.shape[1:]) or ranges[1 - along] > _MOST_ASIDE * ranges[along]:
        return Motion(None, None, 0, speed, jitter, num_blank)
    turns = _turns(moves, _MOVED * float(ranges[along]))
    names = (("up", "down"), ("left", "right"))[along]
    direction = names[int(turns[0] > 0)] if turns else None
    return Motion(("vertical", "horizontal")[along], direction, max(0, len(turns) - 1), speed, jitter, num_blank)


def _peaks(frames: Video) -> NDArray[np.uint8]:
    """Return the brightest pixel of each frame."""
    found: NDArray[np.uint8] = frames.reshape(len(frames), -1).max(axis=1) if len(frames) else np.zeros(0, np.uint8)
    return found


def _turns(moves: Floats, least: float) -> list[int]:
    """Return the signs of the legs of a way, in order; a leg is at least so long."""
    signs: list[int] = []
    heading = 0
    low = high = moves[0]
    for place in moves[1:]:
        # How far this leg has gone; before the first, both ways.
        high = max(high, place) if heading >= 0 else high
        low = min(low, place) if heading <= 0 else low
        if heading <= 0 and place - low >= least:
            heading, high = 1, place
            signs.append(1)
        elif heading >= 0 and high - place >= least:
            heading, low = -1, place
            signs.append(-1)
    return signs
