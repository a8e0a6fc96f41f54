"""Copies are detected, unseen handwriting is not a copy, and retrieval takes the clip with the nearest caption."""

from __future__ import annotations

import numpy as np
import pytest
from support import real_clips

from t2vdata.errors import RequestError
from t2vdata.scoring.memorization import Digits, digits_of, measure, nearest_distances
from t2vdata.scoring.motion import grey
from t2vdata.scoring.retrieval import nearest_training_clips


def real_digits(split: str, count: int, *, seed: int = 0) -> Digits:
    return digits_of([grey(video) for video in real_clips("32x32", split, count, seed=seed)[0]])


def test_training_digits_are_copies_at_any_position_and_brightness() -> None:
    videos = [grey(video) for video in real_clips("32x32", "train", 200)[0]]
    known = digits_of(videos)
    unseen = nearest_distances(real_digits("test", 200), known)
    moved = [np.roll(video, (1, -1), axis=(1, 2)) if not video[:, [0, -1]].any() else video for video in videos[:50]]
    dim = [(video * 0.7).astype(np.uint8) for video in moved]
    result = measure(nearest_distances(digits_of(dim), known), unseen)
    assert result is not None
    assert result.ratio < 0.1
    assert result.copied.value == 1
    assert (nearest_distances(known, known) == 0).all()


def test_unseen_digits_are_not_copies() -> None:
    known = real_digits("train", 400)
    result = measure(nearest_distances(real_digits("test", 200), known), nearest_distances(real_digits("val", 200), known))
    assert result is not None
    assert result.ratio == pytest.approx(1, abs=0.1)
    assert result.copied.value <= 0.04


def test_a_blank_clip_has_no_digit() -> None:
    visible = np.zeros((4, 32, 32), np.uint8)
    visible[3, 8:20, 10:14] = 255
    assert len(digits_of([np.zeros((4, 32, 32), np.uint8), visible])) == 1
    no_digits = digits_of([np.zeros((4, 32, 32), np.uint8)])
    assert measure(nearest_distances(no_digits, real_digits("train", 40)), np.ones(3, np.float32)) is None


def test_clips_of_different_sizes_can_be_mixed() -> None:
    small, large = real_clips("24x24", "test", 40)[0][0], real_clips("32x32", "test", 40)[0][0]
    digits = digits_of([grey(small), grey(large), grey(small)])
    assert np.allclose(digits[0], digits[2])
    assert np.allclose(np.linalg.norm(digits, axis=1), 1)


def test_training_digits_as_the_unseen_ones_give_no_result() -> None:
    known = real_digits("train", 40)
    assert measure(nearest_distances(known, known), nearest_distances(known, known)) is None


# Retrieval

TRAIN = [
    "the digit 1 is moving up and down",
    "the digit 2 is moving left and right",
    "the digit 1 is moving up and down",
    "the digit 2 is moving up and down",
]


def test_a_known_caption_takes_its_own_clips_in_turn() -> None:
    assert nearest_training_clips([TRAIN[0]] * 3 + [TRAIN[1].upper() + "."], TRAIN) == [0, 2, 0, 1]


def test_an_unseen_caption_takes_the_clips_that_differ_in_the_fewest_words() -> None:
    # One word differs for other digits that go up, two for the same digit in another direction.
    assert nearest_training_clips(["the digit 7 is moving up and down"] * 4, TRAIN) == [0, 2, 3, 0]
    assert nearest_training_clips(["the digit 7 is moving right and left"], TRAIN[:2]) == [0]
    assert nearest_training_clips(["the digit 1 is moving left and right"], TRAIN) == [1]


def test_without_training_clips_there_is_no_nearest() -> None:
    with pytest.raises(RequestError, match="no training clips to choose the nearest from; expected at least one"):
        nearest_training_clips(TRAIN, [])
