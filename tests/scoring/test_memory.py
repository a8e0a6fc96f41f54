"""Copies are told from new handwriting, and the nearest training clip is the one whose caption is nearest."""

from __future__ import annotations

import numpy as np
import pytest
from support import real_clips

from t2vdata.errors import RequestError
from t2vdata.scoring import memory
from t2vdata.scoring.motion import grey
from t2vdata.scoring.retrieval import nearest_training_clips


def digits(split: str, count: int, *, seed: int = 0) -> memory.Digits:
    return memory.digits_of([grey(video) for video in real_clips("32x32", split, count, seed=seed)[0]])


def test_digits_of_training_are_copies_wherever_they_stand_and_however_bright() -> None:
    videos = [grey(video) for video in real_clips("32x32", "train", 200)[0]]
    known, unseen = memory.digits_of(videos), memory.nearest(digits("test", 200), memory.digits_of(videos))
    moved = [np.roll(video, (1, -1), axis=(1, 2)) if not video[:, [0, -1]].any() else video for video in videos[:50]]
    dim = [(video * 0.7).astype(np.uint8) for video in moved]
    found = memory.memory(memory.nearest(memory.digits_of(dim), known), unseen)
    assert found is not None
    assert found.ratio < 0.1
    assert found.copied.value == 1
    assert (memory.nearest(known, known) == 0).all()


def test_unseen_digits_are_no_copies() -> None:
    known = digits("train", 400)
    found = memory.memory(memory.nearest(digits("test", 200), known), memory.nearest(digits("val", 200), known))
    assert found is not None
    assert found.ratio == pytest.approx(1, abs=0.1)
    assert found.copied.value <= 0.04


def test_a_clip_without_anything_to_see_has_no_digit() -> None:
    shown = np.zeros((4, 32, 32), np.uint8)
    shown[3, 8:20, 10:14] = 255
    assert len(memory.digits_of([np.zeros((4, 32, 32), np.uint8), shown])) == 1
    nothing = memory.digits_of([np.zeros((4, 32, 32), np.uint8)])
    assert memory.memory(memory.nearest(nothing, digits("train", 40)), np.ones(3, np.float32)) is None


def test_clips_of_several_sizes_go_together() -> None:
    small, large = real_clips("24x24", "test", 40)[0][0], real_clips("32x32", "test", 40)[0][0]
    found = memory.digits_of([grey(small), grey(large), grey(small)])
    assert np.allclose(found[0], found[2])
    assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_what_is_training_itself_has_nothing_to_be_compared_with() -> None:
    known = digits("train", 40)
    assert memory.memory(memory.nearest(known, known), memory.nearest(known, known)) is None


# Retrieval

TRAIN = [
    "the digit 1 is moving up and down",
    "the digit 2 is moving left and right",
    "the digit 1 is moving up and down",
    "the digit 2 is moving up and down",
]


def test_a_seen_caption_takes_its_own_clips_in_turn() -> None:
    assert nearest_training_clips([TRAIN[0]] * 3 + [TRAIN[1].upper() + "."], TRAIN) == [0, 2, 0, 1]


def test_an_unseen_caption_takes_the_clips_that_differ_in_the_fewest_words() -> None:
    # One word off: the other digits that go up. The same digit the other way is two off.
    assert nearest_training_clips(["the digit 7 is moving up and down"] * 4, TRAIN) == [0, 2, 3, 0]
    assert nearest_training_clips(["the digit 7 is moving right and left"], TRAIN[:2]) == [0]
    assert nearest_training_clips(["the digit 1 is moving left and right"], TRAIN) == [1]


def test_without_training_clips_there_is_no_nearest() -> None:
    with pytest.raises(RequestError, match="no training clips to take the nearest of; expected one or more"):
        nearest_training_clips(TRAIN, [])
