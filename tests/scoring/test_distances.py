"""Distances and inception scores match known values."""

from __future__ import annotations

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.scoring import distances


def normal(count: int, *, middle: float = 0.0, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(middle, spread, (count, 4))


def test_the_frechet_distance_of_a_set_to_itself_is_0() -> None:
    assert distances.frechet(normal(50), normal(50)) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_a_shifted_set_is_the_squared_shift() -> None:
    assert distances.frechet(normal(50), normal(50) + np.array([3, 0, 0, 4])) == pytest.approx(25)


def test_the_frechet_distance_of_normal_sets_matches_the_formula() -> None:
    # Of N(0, 1) and N(1, 4) in four dimensions: 4 (1 - 0)^2 + 4 (2 - 1)^2.
    assert distances.frechet(normal(200_000), normal(200_000, middle=1, spread=2, seed=1)) == pytest.approx(8, rel=0.02)


def test_the_frechet_distance_depends_on_correlations() -> None:
    alike = np.random.default_rng(0).normal(size=(100_000, 1)) @ np.ones((1, 2))
    apart = np.random.default_rng(1).normal(size=(100_000, 2))
    # tr(C1) + tr(C2) - 2 tr (C1 C2)^(1/2), with C1 all ones and C2 the identity: 2 + 2 - 2 sqrt(2).
    assert distances.frechet(alike, apart) == pytest.approx(4 - 2 * np.sqrt(2), rel=0.02)


def test_the_mmd_matches_a_calculation_by_hand() -> None:
    first, second = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    # k(x, y) = (xy + 1)^3: within 1 and 343, between 1, 1, 27, 64.
    assert distances.mmd(first, second) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_the_mmd_of_sets_of_one_distribution_is_0_on_average_at_any_size() -> None:
    values = [distances.mmd(normal(8, seed=2 * n), normal(8, seed=2 * n + 1)) for n in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0
    assert distances.mmd(normal(200), normal(200, middle=1, seed=1)) > 0.5


def test_the_inception_score_of_certain_predictions_is_the_number_of_classes() -> None:
    sure = np.eye(10)[np.arange(4000) % 10]
    assert distances.inception(sure, num_splits=1) == (pytest.approx(10), 0)
    mean, deviation = distances.inception(sure)
    assert mean == pytest.approx(10, rel=0.02)
    assert deviation < 0.1


def test_the_inception_score_does_not_depend_on_the_order_of_files() -> None:
    assert distances.inception(np.eye(10)[np.arange(4000) // 400])[0] == pytest.approx(10, rel=0.02)


def test_the_inception_score_is_1_without_information() -> None:
    assert distances.inception(np.full((100, 10), 0.1))[0] == pytest.approx(1)
    assert distances.inception(np.eye(10)[np.zeros(100, int)])[0] == pytest.approx(1)


def test_the_inception_score_matches_a_calculation_by_hand() -> None:
    # Mean (1/2, 1/2); each clip's divergence is ln 2 + 0.9 ln 0.9 + 0.1 ln 0.1.
    expected = np.exp(np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert distances.inception(np.array([[0.9, 0.1], [0.1, 0.9]]), num_splits=1)[0] == pytest.approx(expected)


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(RequestError, match=r"features of shapes \(1, 4\) and \(5, 4\); expected .* two clips or more"):
        distances.frechet(normal(1), normal(5))
    with pytest.raises(RequestError, match=r"features of shapes \(5, 4\) and \(5, 3\)"):
        distances.mmd(normal(5), normal(5)[:, :3])
    with pytest.raises(RequestError, match="3 clips in 4 splits; expected at least one clip in each"):
        distances.inception(np.full((3, 10), 0.1))
