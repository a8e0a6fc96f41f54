"""The digit network knows every test digit as clips show it, and says where there is none."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from support import real_clips

from t2vdata.datasets.mnist_motion import digits as mnist
from t2vdata.datasets.mnist_motion import drawing
from t2vdata.scoring import digits
from t2vdata.scoring.motion import grey
from t2vdata.scoring.score import score


def frames_of(side: int, images: np.ndarray) -> np.ndarray:
    """Return a frame (N, side + 12, side + 12) for each image, drawn as mnist-motion draws it, anywhere."""
    draws = np.random.default_rng(side)
    made = np.zeros((len(images), side + 12, side + 12), np.uint8)
    for frame, image in zip(made, images, strict=True):
        row, column = draws.integers(0, 13, size=2)
        frame[row : row + side, column : column + side] = image if side == 28 else drawing.resized(image, side)
    return made


def test_the_digit_does_not_depend_on_its_place() -> None:
    image = mnist.images(None, "test")[:1]
    placed = np.concatenate(
        [np.roll(np.pad(image, ((0, 0), (10, 10), (10, 10))), shift, (1, 2)) for shift in ((0, 0), (9, -9))]
    )
    told, features = digits.look(placed)
    assert told[0] == told[1]
    assert features.shape == (2, 64)
    assert np.allclose(features[0], features[1], atol=1e-3)


def test_blanks_and_noise_are_no_digit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 32, 32)).astype(np.uint8)
    assert set(digits.look(np.zeros((4, 32, 32), np.uint8))[0]) == {digits.NO_DIGIT}
    assert set(digits.look(noise)[0]) == {digits.NO_DIGIT}
    # Of a screen that is off, as a generator's may be.
    assert set(digits.look(noise // 10)[0]) == {digits.NO_DIGIT}


@pytest.mark.parametrize(("side", "least"), [(28, 0.95), (14, 0.9)])
def test_two_digits_are_no_digit(side: int, least: float) -> None:
    images = mnist.images(None, "test")[:400]
    one, other = frames_of(side, images[:200]), frames_of(side, images[200:])
    apart = np.concatenate([one[:, :side], other[:, :side]], axis=2)
    assert (digits.look(apart)[0] == digits.NO_DIGIT).mean() >= least


def test_two_digits_in_a_clip_are_counted_as_none() -> None:
    videos, captions = real_clips("64x64", "test", 40)
    both = [np.maximum(grey(one), grey(other)[:, ::-1]) for one, other in zip(videos, videos[::-1], strict=True)]
    assert score(both, captions).no_digit > 0.5


def test_blurred_dim_and_noisy_digits_are_told() -> None:
    images, labels = mnist.images(None, "test")[:2000], mnist.labels(None, "test")[:2000]
    sharp = frames_of(14, images).astype(float)
    blurred = sum(np.roll(sharp, (row, column), (1, 2)) for row in (0, 1) for column in (0, 1)) / 4
    worse = blurred * 0.7 + np.random.default_rng(0).normal(0, 8, sharp.shape)
    assert (digits.look(np.clip(worse, 0, 255).astype(np.uint8))[0] == labels).mean() >= 0.97


def test_weights_are_under_a_megabyte() -> None:
    found = [file for file in resources.files("t2vdata.scoring").iterdir() if file.name.endswith(".safetensors")]
    assert len(found) == 2
    assert sum(len(file.read_bytes()) for file in found) < 1_000_000
