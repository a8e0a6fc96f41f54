"""How well neighbouring frames match: features that one motion of the whole picture explains.

After "Video Generation From Text" (arXiv:1710.00421), which cuts videos where SIFT features of neighbouring frames no longer
match by RANSAC, and gives no threshold. Here the features are ORB's, on grey frames of 240 pixels on the shorter side, matched
both ways, the motion a homography within 5 pixels. On real videos, frames of two videos had 17 such matches at most (median
10), neighbours 40 to 400, fewer only in whip pans and at cuts: 20 tells them apart. Takes 6 ms for a pair, where SIFT takes
48 and parts them no better.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

SIDE = 240
"""Pixels on the shorter side of the frames that are matched."""
_NUM_FEATURES, _NEAR_PIXELS = 500, 5.0


def why_not() -> str | None:
    """Return why frames cannot be matched here, or None."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return "no OpenCV; pip install opencv-python-headless"
    return None


def version() -> str:
    """Return the version of OpenCV."""
    import cv2

    return str(cv2.__version__)


def fewest_matches(frames: Sequence[Grey]) -> int:
    """Return the matches of the two neighbours that have the fewest, of grey frames (H, W) uint8; a frame alone has all."""
    import cv2

    # One thread: as many clips are decoded at a time as there are cores.
    cv2.setNumThreads(1)
    finder = cv2.ORB_create(_NUM_FEATURES)  # type: ignore[attr-defined]
    # Frames that are shown twice are one object.
    distinct = [next(same) for _, same in itertools.groupby(frames, key=id)]
    found = [finder.detectAndCompute(frame, None) for frame in distinct]
    return min((_matches(*one, *other) for one, other in itertools.pairwise(found)), default=_NUM_FEATURES)


def _matches(ones: Sequence[object], one: Grey | None, others: Sequence[object], other: Grey | None) -> int:
    import cv2
    import numpy as np

    if one is None or other is None:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one, other)
    if len(pairs) < 4:
        return 0
    before = np.array([ones[pair.queryIdx].pt for pair in pairs], np.float32)  # type: ignore[attr-defined]
    after = np.array([others[pair.trainIdx].pt for pair in pairs], np.float32)  # type: ignore[attr-defined]
    _, kept = cv2.findHomography(before, after, cv2.RANSAC, _NEAR_PIXELS)
    return 0 if kept is None else int(kept.sum())
