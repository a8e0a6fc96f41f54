"""Detect cuts between shots by the difference in colours of neighbouring frames.

A frame is divided into 3x3 cells, each with a histogram of 64 colours (two bits each of red, green and blue). The distance of
two frames is the share of colours that their cells do not have in common, on average: 0 is equal, 1 has nothing in common. A
distance over 0.55 is a cut, and so is one over 0.3 that is twice as large as those of the three pairs before and after. Frames
that repeat the previous frame are ignored.

The thresholds were chosen on real videos at 25 and at 8 fps: of 600 cuts made by joining clips of two videos, 96 and 98 % were
found; of 8,130 pairs of neighbours within a shot, three were mistaken for a cut (whip pans and zooms). Fades are not found.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.uint8]

_CELLS, _COLOURS, _NEIGHBOURS = 3, 64, 3
_SURE_DISTANCE, _MIN_DISTANCE, _MIN_RATIO = 0.55, 0.3, 2.0
# Frames are subsampled to about this many pixels on the shorter side.
_SIDE = 64


def cuts(data: Array) -> list[int]:
    """Return the indices of the frames that begin a new shot, without the first frame. ``data`` is (T, H, W, 1 or 3) uint8."""
    import numpy as np

    stride = max(1, min(data.shape[1:3]) // _SIDE)
    data = data[:, ::stride, ::stride]
    differs = np.any(data[1:] != data[:-1], axis=(1, 2, 3))
    distinct = np.concatenate([[0], np.flatnonzero(differs) + 1])
    distances = _distances(data[distinct])
    return [int(distinct[index + 1]) for index in range(len(distances)) if _is_cut(distances, index)]


def longest(data: Array) -> slice:
    """Return the range of the longest shot; the first of equally long ones."""
    edges = [0, *cuts(data), len(data)]
    first, last = max(itertools.pairwise(edges), key=lambda shot: shot[1] - shot[0])
    return slice(first, last)


def _is_cut(distances: NDArray[np.float64], index: int) -> bool:
    distance = distances[index]
    if distance > _SURE_DISTANCE:
        return True
    around = [*distances[max(0, index - _NEIGHBOURS) : index], *distances[index + 1 : index + 1 + _NEIGHBOURS]]
    return bool(distance > _MIN_DISTANCE and distance > _MIN_RATIO * max(around, default=0.0))


def _distances(data: Array) -> NDArray[np.float64]:
    """Return the distance of each frame from the previous one: (T - 1,), 0 to 1."""
    import numpy as np

    bits = (data >> 6).astype(np.int64)
    colours = bits[..., 0] * 21 if data.shape[3] == 1 else bits[..., 0] * 16 + bits[..., 1] * 4 + bits[..., 2]
    cells = [cell for rows in np.array_split(colours, _CELLS, axis=1) for cell in np.array_split(rows, _CELLS, axis=2)]
    total = np.zeros(max(0, len(data) - 1))
    for cell in cells:
        shares = _histograms(cell)
        total += 1 - np.minimum(shares[1:], shares[:-1]).sum(axis=1)
    return total / len(cells)


def _histograms(colours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each colour in each frame: (T, 64)."""
    import numpy as np

    flat = colours.reshape(len(colours), -1)
    bins = flat + np.arange(len(flat))[:, None] * _COLOURS
    counts = np.bincount(bins.ravel(), minlength=len(flat) * _COLOURS).reshape(len(flat), _COLOURS)
    return counts / max(1, flat.shape[1])
