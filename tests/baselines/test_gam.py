"""Two discriminators judge real clips and each other's samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from baselines.gam import errors, require_discriminator
from t2vdata.errors import RequestError
from t2vdata.scoring.gam import gam

REAL, DARK, DIM = (torch.full((60, 1, 4, 8, 8), level, dtype=torch.uint8) for level in (200, 20, 120))
CAPTIONS = ["the digit 9 is moving down and up"] * 60


@dataclass
class Brightness:
    """Takes clips above a brightness for real."""

    threshold: float

    def realness(self, video: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        assert len(video) == len(captions) <= 50
        return video.float().mean((1, 2, 3, 4)) - self.threshold


def test_errors_are_rejected_real_clips_and_accepted_samples() -> None:
    rates = errors(Brightness(100), REAL, DIM, CAPTIONS)
    assert (rates.on_test, rates.on_rival) == (0.0, 1.0)
    rates = errors(Brightness(250), REAL, DIM, CAPTIONS)
    assert (rates.on_test, rates.on_rival) == (1.0, 0.0)


def test_the_gan_whose_samples_fool_more_wins() -> None:
    # The first generates dim clips, which pass for real; the second dark ones, which do not.
    first = errors(Brightness(100), REAL, DARK, CAPTIONS)
    second = errors(Brightness(100), REAL, DIM, CAPTIONS)
    assert gam(first, second).winner == 1
    assert gam(second, first).winner == 2
    assert gam(first, first).winner is None


def test_a_model_without_a_discriminator_is_refused() -> None:
    with pytest.raises(RequestError, match="has no discriminator; expected a run of a GAN"):
        require_discriminator(object())
