"""Which GAN wins when two swap discriminators."""

from __future__ import annotations

import math

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.scoring.gam import Errors, GamResult, gam


def test_a_run_against_itself_is_a_tie() -> None:
    errors = Errors(on_test=0.2, on_rival=0.37)
    assert gam(errors, errors) == GamResult(1.0, 1.0, None)
    assert gam(errors, errors, tolerance=0).winner is None
    assert gam(Errors(0, 0), Errors(0, 0)) == GamResult(1.0, 1.0, None)


def test_the_run_whose_samples_fool_more_wins_in_either_order() -> None:
    # The first is fooled by 10 % of the second's samples, the second by 40 % of the first's.
    strong, weak = Errors(0.2, 0.1), Errors(0.2, 0.4)
    assert gam(strong, weak) == GamResult(1.0, 0.25, 1)
    assert gam(weak, strong) == GamResult(1.0, 4.0, 2)
    assert gam(Errors(0.2, 0.1), Errors(0.2, 0)).sample_ratio == math.inf
    assert gam(Errors(0.2, 0.1), Errors(0.2, 0)).winner == 2


def test_a_difference_within_the_tolerance_is_a_tie() -> None:
    first, second = Errors(0.2, 0.40), Errors(0.2, 0.42)
    assert gam(first, second).winner is None
    assert gam(first, second, tolerance=0.02).winner == 1
    assert gam(second, first, tolerance=0.02).winner == 2


@pytest.mark.parametrize(("first", "second", "ratio"), [(0.1, 0.2, "0.5"), (0.2, 0.1, "2"), (0.1, 0, "inf"), (0, 0.1, "0")])
def test_discriminators_of_unequal_quality_give_no_result(first: float, second: float, ratio: str) -> None:
    message = rf"are wrong on .* of the real clips, a ratio of {ratio}; expected 0\.909 to 1\.1: train them alike"
    with pytest.raises(RequestError, match=message):
        gam(Errors(first, 0.5), Errors(second, 0.5))


def test_the_tolerance_can_be_raised() -> None:
    assert gam(Errors(0.1, 0.1), Errors(0.2, 0.5), tolerance=1).winner == 1


def test_error_rates_come_from_decisions() -> None:
    real_on_test, real_on_rival = np.array([True, True, True, False]), np.array([True, False])
    assert Errors.of(real_on_test, real_on_rival) == Errors(on_test=0.25, on_rival=0.5)


def test_invalid_decisions_and_shares_are_refused() -> None:
    with pytest.raises(RequestError, match=r"decisions of float64 \(2,\) .*; expected booleans"):
        Errors.of(np.array([0.1, 0.9]), np.array([True]))
    with pytest.raises(RequestError, match="at least one clip of each"):
        Errors.of(np.zeros(0, bool), np.array([True]))
    with pytest.raises(RequestError, match=r"Errors.on_rival 1\.5: expected a share, 0 to 1"):
        Errors(0.5, 1.5)
    with pytest.raises(RequestError, match="tolerance -1: expected 0 or more"):
        gam(Errors(0.1, 0.1), Errors(0.1, 0.1), tolerance=-1)
