"""The Generative Adversarial Metric: two GANs swap discriminators; the one whose samples fool the other's more often wins.

D. J. Im, C. D. Kim, H. Jiang, R. Memisevic: Generating images with recurrent adversarial networks (2016), section 4. The input
is the decisions of the discriminators; no networks or clips are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError

TOLERANCE = 0.1


@dataclass(frozen=True)
class Errors:
    """How often a discriminator was wrong."""

    on_test: float
    """Share of real clips, unseen by both, that it classifies as generated."""
    on_rival: float
    """Share of the other generator's samples that it classifies as real."""

    def __post_init__(self) -> None:
        for name in ("on_test", "on_rival"):
            if not 0 <= getattr(self, name) <= 1:
                raise RequestError(f"Errors.{name} {getattr(self, name)}: expected a share, 0 to 1")

    @classmethod
    def of(cls, real_on_test: NDArray[np.bool_], real_on_rival: NDArray[np.bool_]) -> Errors:
        """Return the error rates of decisions: True for a clip that is classified as real, its score above the threshold."""
        if real_on_test.dtype != bool or real_on_rival.dtype != bool or not (real_on_test.size and real_on_rival.size):
            raise RequestError(
                f"decisions of {real_on_test.dtype} {real_on_test.shape} and {real_on_rival.dtype} {real_on_rival.shape}; "
                "expected booleans, at least one clip of each: compare the scores with the discriminator's threshold"
            )
        return cls(1 - float(real_on_test.mean()), float(real_on_rival.mean()))


@dataclass(frozen=True)
class GamResult:
    """Which of two GANs wins, and the ratios that decide."""

    test_ratio: float
    """Error of discriminator 1 on real clips divided by that of discriminator 2; must be near 1 for a valid comparison."""
    sample_ratio: float
    """Error of discriminator 1 on the samples of 2, divided by that of discriminator 2 on the samples of 1."""
    winner: int | None
    """1, 2, or None for a tie."""


def gam(first: Errors, second: Errors, *, tolerance: float = TOLERANCE) -> GamResult:
    """Return which GAN wins: 1 if its discriminator is fooled less often than the other, by more than ``tolerance``.

    Ratios from 1/(1 + tolerance) to 1 + tolerance count as 1; two errors of 0 have the ratio 1. Raises RequestError if the
    discriminators are not equally good on real clips, as their quality would then decide instead of the samples.
    """
    if not 0 <= tolerance < math.inf:
        raise RequestError(f"tolerance {tolerance}: expected 0 or more, such as {TOLERANCE}")
    test_ratio, sample_ratio = _ratio(first.on_test, second.on_test), _ratio(first.on_rival, second.on_rival)
    if not _is_near_1(test_ratio, tolerance):
        raise RequestError(
            f"the discriminators are wrong on {first.on_test:.1%} and {second.on_test:.1%} of the real clips, a ratio of "
            f"{test_ratio:.3g}; expected {1 / (1 + tolerance):.3g} to {1 + tolerance:.3g}: train them alike, score more real "
            "clips, or raise the tolerance and report it"
        )
    winner = None if _is_near_1(sample_ratio, tolerance) else 1 if sample_ratio < 1 else 2
    return GamResult(test_ratio, sample_ratio, winner)


def _ratio(numerator: float, denominator: float) -> float:
    if denominator:
        return numerator / denominator
    return math.inf if numerator else 1.0


def _is_near_1(ratio: float, tolerance: float) -> bool:
    return 1 / (1 + tolerance) <= ratio <= 1 + tolerance
