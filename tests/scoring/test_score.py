"""Real clips score near 100 %, and clips without information about their caption score at chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import ALL_DIGITS, CLIP_SIZES, real_clips

from t2vdata.errors import RequestError
from t2vdata.scoring import digit_classifier, grammar, motion
from t2vdata.scoring.score import NEAREST, Proportion, controls, grey, score


def blob(path: list[tuple[float, float]], side: int = 32) -> np.ndarray:
    """Return a clip (T, side, side) of a bright spot at each (row, column) of the path."""
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([np.where((rows - row) ** 2 + (columns - column) ** 2 < 9, 255, 0) for row, column in path]).astype(
        np.uint8
    )


# Captions


def test_a_caption_gives_digit_and_first_direction() -> None:
    assert grammar.meaning_of("the digit 9 is moving down and up") == grammar.Meaning(9, "down")
    assert grammar.meaning_of(" The digit 0 is moving left  to right.").axis == "horizontal"


@pytest.mark.parametrize("caption", ["a dog", "the digit 9 is moving down and left", "the digit 12 is moving up and down", ""])
def test_other_captions_are_refused(caption: str) -> None:
    with pytest.raises(
        RequestError, match=r"not a caption of one moving digit: .*expected one such as 'the digit 9 is moving down"
    ):
        grammar.meaning_of(caption)


# Motion


@pytest.mark.parametrize(
    ("path", "axis", "direction", "reversals"),
    [
        ([(5 + 2 * t, 16) for t in range(10)], "vertical", "down", 0),
        ([(25 - 2 * t, 16) for t in range(10)], "vertical", "up", 0),
        ([(16, 5 + 3 * t) for t in range(7)] + [(16, 23 - 3 * t) for t in range(6)], "horizontal", "right", 1),
        ([(16, 12 - 2 * t) for t in range(4)] + [(16, 6 + 2 * t) for t in range(9)], "horizontal", "left", 1),
        ([(16, 16)] * 8, None, None, 0),
        ([(8 + 2 * t, 8 + 2 * t) for t in range(8)], None, None, 0),
    ],
)
def test_measured_motion_equals_the_motion_of_the_spot(
    path: list[tuple[float, float]], axis: str, direction: str, reversals: int
) -> None:
    measured = motion.measure(blob(path))
    assert (measured.axis, measured.direction, measured.reversals, measured.num_blank) == (axis, direction, reversals, 0)


def test_jitter_is_measured_and_not_counted_as_a_turn() -> None:
    rng = np.random.default_rng(0)
    steady = [(16.0, 5 + 1.5 * t) for t in range(14)]
    jittery = [(row + rng.uniform(-1, 1), column + rng.uniform(-0.5, 0.5)) for row, column in steady]
    assert motion.measure(blob(jittery)).direction == "right"
    assert motion.measure(blob(jittery)).jitter > motion.measure(blob(steady)).jitter
    assert motion.measure(blob(steady)).speed == pytest.approx(1.5, rel=0.15)


def test_a_blank_clip_has_no_motion() -> None:
    assert motion.measure(np.zeros((8, 32, 32), np.uint8)) == motion.Motion(None, None, 0, 0.0, 0.0, 8)


# Digits and captions


@pytest.mark.parametrize("size", list(CLIP_SIZES))
@pytest.mark.parametrize("split", list(ALL_DIGITS))
def test_digits_of_real_clips_are_right_in_every_split(size: str, split: str) -> None:
    # All frames of a clip show the same image, so one frame is enough. `val` has the harder half of the test images, so all
    # of them are tested; the other splits are far above the limit.
    count = ALL_DIGITS[split] if split == "val" else 1000
    videos, captions = real_clips(size, split, count, frames=8)
    classes, _ = digit_classifier.classify(np.stack([video[4, ..., 0] for video in videos]))
    labels = [grammar.meaning_of(caption).digit for caption in captions]
    assert (classes == labels).mean() >= 0.99


@pytest.mark.parametrize("size", list(CLIP_SIZES))
@pytest.mark.parametrize("split", list(ALL_DIGITS))
def test_motion_of_real_clips_is_right_in_every_split(size: str, split: str) -> None:
    result = score(*real_clips(size, split, 80))
    assert result.direction.value == 1
    assert result.axis.value == 1
    assert result.caption == result.digit
    assert result.constancy > 0.999


def test_a_digit_that_morphs_is_not_constant() -> None:
    videos, captions = real_clips("32x32", "test", 40)
    seven, zero = (
        next(grey(video) for video, text in zip(videos, captions, strict=True) if f"digit {n}" in text) for n in (7, 0)
    )
    morphed = np.concatenate([seven[:8], zero[8:]])
    assert score([morphed], ["the digit 7 is moving up and down"]).constancy < 0.7


def test_controls_score_as_expected() -> None:
    scores = controls(*real_clips("24x24", "test", 400), train=real_clips("24x24", "train", 400))
    assert scores["real"].caption.value >= 0.99
    shuffled = scores["shuffled captions"]
    for proportion, chance in ((shuffled.caption, grammar.CHANCE), (shuffled.digit, 1 / 10), (shuffled.direction, 1 / 4)):
        low, high = proportion.interval
        assert low < chance < high
    assert scores["first frame alone"].axis.value == 0
    assert scores["first frame alone"].digit.value >= 0.99
    assert scores["shuffled frames"].direction.value < 0.75
    assert scores["shuffled frames"].digit == scores["real"].digit
    assert scores[NEAREST].caption.value >= 0.99
    assert scores["real"].diversity is not None
    assert scores["real"].diversity > 0


def test_the_nearest_training_clip_fails_on_unseen_pairs() -> None:
    scores = controls(*real_clips("24x24", "compositional", 40), train=real_clips("24x24", "train", 400))
    assert scores["real"].caption.value >= 0.95
    assert scores[NEAREST].digit.value <= 0.05
    assert scores[NEAREST].caption.value <= 0.05
    assert scores[NEAREST].direction.value >= 0.95


def test_a_repeated_clip_has_no_diversity() -> None:
    videos, captions = real_clips("32x32", "test", 40)
    assert score([videos[0]] * 4, [captions[0]] * 4).diversity == pytest.approx(0, abs=1e-4)
    assert score(videos[:1], captions[:1]).diversity is None


def test_wilsons_interval_matches_known_values() -> None:
    low, high = Proportion(8, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert Proportion(0, 20).interval[0] == 0
    assert math.isclose(Proportion(20, 20).interval[1], 1)


def test_colour_clips_score_like_their_grey() -> None:
    videos, captions = real_clips("32x32", "test", 40)
    colour = [video.repeat(3, axis=3) for video in videos]
    assert score(colour, captions) == score(videos, captions)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), r"a clip of shape \(4, 8, 8\) float32; expected"),
        (np.zeros((4, 8, 8, 2), np.uint8), r"a clip of shape \(4, 8, 8, 2\) uint8; expected"),
        (np.zeros((0, 8, 8), np.uint8), r"a clip of shape \(0, 8, 8\) uint8; expected"),
    ],
)
def test_invalid_clips_are_refused(video: np.ndarray, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        score([video], ["the digit 7 is moving up and down"])
    with pytest.raises(RequestError, match="1 clips and 2 captions; expected equal numbers"):
        score([np.zeros((4, 8, 8), np.uint8)], ["a", "b"])
