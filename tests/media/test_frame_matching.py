"""Neighbouring frames of the same scene match; frames of different scenes do not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from media.video_files import scene

from t2vdata.media import frame_matching


def greys(*seeds: int, count: int = 4) -> list[np.ndarray]:
    return [np.ascontiguousarray(frame.mean(axis=2).astype(np.uint8)) for seed in seeds for frame in scene(seed, count)]


def test_the_frames_of_a_pan_match() -> None:
    assert frame_matching.fewest_matches(greys(1)) > 100


def test_a_cut_matches_nowhere() -> None:
    assert frame_matching.fewest_matches(greys(1, 2)) < 20


def test_a_frame_that_is_shown_twice_is_not_asked() -> None:
    frame = greys(1, count=1)[0]
    assert frame_matching.fewest_matches([frame, frame, frame]) >= 100


def test_frames_without_features_do_not_match() -> None:
    flat = [np.full((240, 320), level, np.uint8) for level in (10, 200)]
    assert frame_matching.fewest_matches(flat) == 0


def test_without_opencv_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frame_matching.why_not() is None
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert frame_matching.why_not() == "no OpenCV; pip install opencv-python-headless"
