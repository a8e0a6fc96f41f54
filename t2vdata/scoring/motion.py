"""Measure the motion of the digit in a clip, without a network.

The position of a digit is the centre of mass of the bright pixels: those above 30 % of the brightest in their frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError
from t2vdata.media.color import LUMA_PER_MILLE

Video = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Of 255. A frame whose brightest pixel is darker is blank.
_MIN_PEAK = 40
_BRIGHT_SHARE = 0.3
# Share of the frame's side; a digit that moves less stands still.
_MIN_RANGE = 0.03
# Share of the range along the axis; a shorter leg, from the start or after a turn, is jitter.
_MIN_LEG = 0.15
# If the range across is more than this share of the range along, there is no axis.
_MAX_ACROSS = 0.5


@dataclass(frozen=True)
class Motion:
    """How the digit of a clip moves. Lengths are in pixels."""

    axis: str | None
    """``vertical``, ``horizontal``, or None for a clip that stands still or moves along no axis."""
    direction: str | None
    """The first direction: ``up``, ``down``, ``left``, ``right``, or None."""
    reversals: int
    speed: float
    """Pixels a frame, on average."""
    jitter: float
    """Standard deviation across the axis."""
    num_blank: int
    """Number of blank frames."""


@dataclass(frozen=True)
class BrightRegions:
    """Bounding box and centre of the bright pixels of each frame: arrays (N,), in pixels."""

    top: Floats
    bottom: Floats
    left: Floats
    right: Floats
    row: Floats
    """Centre of mass."""
    column: Floats
    is_blank: NDArray[np.bool_]


def grey(video: NDArray[Any]) -> Video:
    """Convert a clip (T, H, W) or (T, H, W, 1 or 3) uint8 to grey, (T, H, W). Raises RequestError for anything else."""
    if (
        video.dtype != np.uint8
        or video.ndim not in (3, 4)
        or 0 in video.shape
        or (video.ndim == 4 and video.shape[3] not in (1, 3))
    ):
        raise RequestError(f"a clip of shape {video.shape} {video.dtype}; expected (T, H, W) or (T, H, W, 1 or 3) uint8")
    if video.ndim == 3:
        return video
    if video.shape[3] == 1:
        return video[..., 0]
    rounded: Video = ((video @ np.array(LUMA_PER_MILLE) + 500) // 1000).astype(np.uint8)
    return rounded


def find_bright_regions(frames: Video) -> BrightRegions:
    """Locate the bright pixels of frames (N, H, W) uint8; a blank frame counts as bright everywhere."""
    _, height, width = frames.shape
    peak = _peaks(frames)
    is_blank: NDArray[np.bool_] = np.asarray(peak < _MIN_PEAK)
    bright: NDArray[np.bool_] = np.asarray(frames > (_BRIGHT_SHARE * peak)[:, None, None])
    bright |= is_blank[:, None, None]
    mass = np.where(bright, np.maximum(frames, 1), 0).astype(np.float64)
    rows, columns = mass.sum(axis=2), mass.sum(axis=1)
    total = rows.sum(axis=1)
    in_rows: NDArray[np.bool_] = np.asarray(bright.any(axis=2))
    in_columns: NDArray[np.bool_] = np.asarray(bright.any(axis=1))
    return BrightRegions(
        top=in_rows.argmax(axis=1).astype(float),
        bottom=height - in_rows[:, ::-1].argmax(axis=1).astype(float),
        left=in_columns.argmax(axis=1).astype(float),
        right=width - in_columns[:, ::-1].argmax(axis=1).astype(float),
        row=(rows * (np.arange(height) + 0.5)).sum(axis=1) / total,
        column=(columns * (np.arange(width) + 0.5)).sum(axis=1) / total,
        is_blank=is_blank,
    )


def is_blank(frames: Video) -> NDArray[np.bool_]:
    """Return which frames (N, H, W) uint8 are blank: (N,)."""
    return np.asarray(_peaks(frames) < _MIN_PEAK)


def measure(video: Video) -> Motion:
    """Measure how the digit of a clip (T, H, W) uint8 moves."""
    regions = find_bright_regions(video)
    visible = ~regions.is_blank
    num_blank = int(regions.is_blank.sum())
    path = np.stack([regions.row[visible], regions.column[visible]], axis=1)
    if len(path) < 2:
        return Motion(None, None, 0, 0.0, 0.0, num_blank)
    ranges = np.ptp(path, axis=0)
    along = int(ranges.argmax())
    moves = path[:, along]
    speed = float(np.abs(np.diff(moves)).mean())
    jitter = float(path[:, 1 - along].std())
    if ranges[along] < _MIN_RANGE * max(video.shape[1:]) or ranges[1 - along] > _MAX_ACROSS * ranges[along]:
        return Motion(None, None, 0, speed, jitter, num_blank)
    legs = _legs(moves, _MIN_LEG * float(ranges[along]))
    names = (("up", "down"), ("left", "right"))[along]
    direction = names[int(legs[0] > 0)] if legs else None
    return Motion(("vertical", "horizontal")[along], direction, max(0, len(legs) - 1), speed, jitter, num_blank)


def _peaks(frames: Video) -> NDArray[np.uint8]:
    """Return the brightest pixel of each frame."""
    peaks: NDArray[np.uint8] = frames.reshape(len(frames), -1).max(axis=1) if len(frames) else np.zeros(0, np.uint8)
    return peaks


def _legs(moves: Floats, min_length: float) -> list[int]:
    """Return the signs of the legs of a path along one axis, in order; legs are at least ``min_length`` long."""
    signs: list[int] = []
    heading = 0
    low = high = moves[0]
    for position in moves[1:]:
        # The extent of this leg; before the first leg, in both directions.
        high = max(high, position) if heading >= 0 else high
        low = min(low, position) if heading <= 0 else low
        if heading <= 0 and position - low >= min_length:
            heading, high = 1, position
            signs.append(1)
        elif heading >= 0 and high - position >= min_length:
            heading, low = -1, position
            signs.append(-1)
    return signs
