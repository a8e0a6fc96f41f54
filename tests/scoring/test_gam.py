"""Who wins when two GANs change their discriminators."""

from __future__ import annotations

import math

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.scoring.gam import Errors, Verdict, gam


def test_a_run_against_itself_is_a_tie() -> None:
    one = Errors(on_test=0.2, on_rival=0.37)
    assert gam(one, one) == Verdict(1.0, 1.0, None)
    assert gam(one, one, tolerance=0).winner is None
    assert gam(Errors(0, 0), Errors(0, 0)) == Verdict(1.0, 1.0, None)


def test_the_run_whose_samples_fool_more_wins_whichever_comes_first() -> None:
    # The first is fooled by 10 % of the second's samples, the second by 40 % of the first's.
    strong, weak = Errors(0.2, 0.1), Errors(0.2, 0.4)
    assert gam(strong, weak) == Verdict(1.0, 0.25, 1)
    assert gam(weak, strong) == Verdict(1.0, 4.0, 2)
    assert gam(Errors(0.2, 0.1), Errors(0.2, 0)).sample_ratio == math.inf
    assert gam(Errors(0.2, 0.1), Errors(0.2, 0)).winner == 2


def test_a_difference_within_the_tolerance_is_a_tie() -> None:
    one, other = Errors(0.2, 0.40), Errors(0.2, 0.42)
    assert gam(one, other).winner is None
    assert gam(one, other, tolerance=0.02).winner == 1
    assert gam(other, one, tolerance=0.02).winner == 2


@pytest.mark.parametrize(("first", "second", "ratio"), [(0.1, 0.2, "0.5"), (0.2, 0.1, "2"), (0.1, 0, "inf"), (0, 0.1, "0")])
def test_discriminators_that_are_not_equally_good_give_no_verdict(first: float, second: float, ratio: str) -> None:
    message = rf"are wrong on .* of the real clips, a ratio of {ratio}; expected 0\.909 to 1\.1: train them alike"
    with pytest.raises(RequestError, match=message):
        gam(Errors(first, 0.5), Errors(second, 0.5))


def test_the_tolerance_can_be_raised() -> None:
    assert gam(Errors(0.1, 0.1), Errors(0.2, 0.5), tolerance=1).winner == 1


def test_errors_are_counted_from_decisions() -> None:
    real_on_test, real_on_rival = np.array([True, True, True, False]), np.array([True, False])
    assert Errors.of(real_on_test, real_on_rival) == Errors(on_test=0.25, on_rival=0.5)


def test_what_are_no_decisions_or_shares_is_refused() -> None:
    with pytest.raises(RequestError, match=r"decisions of float64 \(2,\) .*; expected booleans"):
        Errors.of(np.array([0.1, 0.9]), np.array([True]))
    with pytest.raises(RequestError, match="one clip or more of each"):
        Errors.of(np.zeros(0, bool), np.array([True]))
    with pytest.raises(RequestError, match=r"Errors.on_rival 1\.5: expected a share, 0 to 1"):
        Errors(0.5, 1.5)
    with pytest.raises(RequestError, match="tolerance -1: expected 0 or more"):
        gam(Errors(0.1, 0.1), Errors(0.1, 0.1), tolerance=-1)
