"""Decide which frame belongs to a time: one rule for spans, sampling, windows and ``Video.frames_at_times``.

A frame is shown from its time stamp until that of the next frame; the last frame until its own duration ends. Clocks round time
stamps (Matroska and FLV to 1 ms, GIF to 10 ms), and people round times, so a time within a tolerance of a frame's start counts
as that start. docs/format.md states the rule for users.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

# Tables give times to the millisecond, rounded or cut.
_WRITTEN_SECONDS = 0.001
# Clocks that are coarser than GIF's count whole frames, and round nothing.
_COARSEST_ROUNDING_SECONDS = 0.01
# Of the frame that a time lies in: less than half, so that no time is near two starts.
_MAX_SHARE = 0.25


def rounding_seconds(tick_seconds: float) -> float:
    """Return how far a time may be from the start that it means, for a container whose clock has this tick."""
    # A microsecond more, as differences of floats are rounded too.
    return (tick_seconds if tick_seconds <= _COARSEST_ROUNDING_SECONDS else 0.0) + _WRITTEN_SECONDS + 1e-6


def tolerance_seconds(duration_seconds: float, rounding: float) -> float:
    """Return how near to a start a time within a frame of this duration counts as that start."""
    return min(rounding, _MAX_SHARE * duration_seconds)


def shown_at(times: Sequence[float], starts: Sequence[float], rounding: float) -> list[int]:
    """Return the number of the frame shown at each time; the first before all starts, the last after them."""
    changes = [start - tolerance_seconds(start - previous, rounding) for previous, start in itertools.pairwise(starts)]
    return [bisect.bisect_right(changes, time) for time in times]
