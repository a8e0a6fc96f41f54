"""The digit classifier recognises test digits as clips show them, and frames without a digit."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from support import real_clips

from t2vdata.datasets.mnist_motion import digits as mnist
from t2vdata.datasets.mnist_motion import drawing
from t2vdata.scoring import digit_classifier
from t2vdata.scoring.motion import grey
from t2vdata.scoring.score import score


def frames_of(side: int, images: np.ndarray) -> np.ndarray:
    """Return a frame for each image, (N, side + 12, side + 12), drawn as mnist-motion draws it, at a random position."""
    rng = np.random.default_rng(side)
    frames = np.zeros((len(images), side + 12, side + 12), np.uint8)
    for frame, image in zip(frames, images, strict=True):
        row, column = rng.integers(0, 13, size=2)
        frame[row : row + side, column : column + side] = image if side == 28 else drawing.resized(image, side)
    return frames


def test_the_class_does_not_depend_on_the_position() -> None:
    image = mnist.images(None, "test")[:1]
    placed = np.concatenate(
        [np.roll(np.pad(image, ((0, 0), (10, 10), (10, 10))), shift, (1, 2)) for shift in ((0, 0), (9, -9))]
    )
    classes, features = digit_classifier.classify(placed)
    assert classes[0] == classes[1]
    assert features.shape == (2, 64)
    assert np.allclose(features[0], features[1], atol=1e-3)


def test_blank_and_noisy_frames_have_no_digit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 32, 32)).astype(np.uint8)
    assert set(digit_classifier.classify(np.zeros((4, 32, 32), np.uint8))[0]) == {digit_classifier.NO_DIGIT}
    assert set(digit_classifier.classify(noise)[0]) == {digit_classifier.NO_DIGIT}
    # Faint noise, as generators make it on a black background.
    assert set(digit_classifier.classify(noise // 10)[0]) == {digit_classifier.NO_DIGIT}


@pytest.mark.parametrize(("side", "least"), [(28, 0.95), (14, 0.9)])
def test_two_digits_count_as_no_digit(side: int, least: float) -> None:
    images = mnist.images(None, "test")[:400]
    left, right = frames_of(side, images[:200]), frames_of(side, images[200:])
    apart = np.concatenate([left[:, :side], right[:, :side]], axis=2)
    assert (digit_classifier.classify(apart)[0] == digit_classifier.NO_DIGIT).mean() >= least


def test_clips_of_two_digits_are_counted_as_no_digit() -> None:
    videos, captions = real_clips("64x64", "test", 40)
    both = [np.maximum(grey(video), grey(other)[:, ::-1]) for video, other in zip(videos, videos[::-1], strict=True)]
    assert score(both, captions).no_digit > 0.5


def test_blurred_dim_and_noisy_digits_are_recognised() -> None:
    images, labels = mnist.images(None, "test")[:2000], mnist.labels(None, "test")[:2000]
    sharp = frames_of(14, images).astype(float)
    blurred = sum(np.roll(sharp, (row, column), (1, 2)) for row in (0, 1) for column in (0, 1)) / 4
    worse = blurred * 0.7 + np.random.default_rng(0).normal(0, 8, sharp.shape)
    assert (digit_classifier.classify(np.clip(worse, 0, 255).astype(np.uint8))[0] == labels).mean() >= 0.97


def test_weights_are_under_a_megabyte() -> None:
    weights = [file for file in resources.files("t2vdata.scoring").iterdir() if file.name.endswith(".safetensors")]
    assert len(weights) == 2
    assert sum(len(file.read_bytes()) for file in weights) < 1_000_000
