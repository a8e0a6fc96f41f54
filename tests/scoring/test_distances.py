"""Distances of sets of clips, and the score of one, are the known ones where these are known."""

from __future__ import annotations

import numpy as np
import pytest

from t2vdata.errors import RequestError
from t2vdata.scoring import distances


def normal(count: int, *, middle: float = 0.0, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(middle, spread, (count, 4))


def test_the_frechet_distance_of_a_set_to_itself_is_0() -> None:
    assert distances.frechet(normal(50), normal(50)) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_a_set_that_moved_is_the_square_of_the_way() -> None:
    assert distances.frechet(normal(50), normal(50) + np.array([3, 0, 0, 4])) == pytest.approx(25)


def test_the_frechet_distance_of_known_normal_sets_is_the_known_one() -> None:
    # Of N(0, 1) and N(1, 4) in four dimensions: 4 (1 - 0)^2 + 4 (2 - 1)^2.
    assert distances.frechet(normal(200_000), normal(200_000, middle=1, spread=2, seed=1)) == pytest.approx(8, rel=0.02)


def test_the_frechet_distance_sees_how_features_go_together() -> None:
    alike = np.random.default_rng(0).normal(size=(100_000, 1)) @ np.ones((1, 2))
    apart = np.random.default_rng(1).normal(size=(100_000, 2))
    # tr(C1) + tr(C2) - 2 tr (C1 C2)^(1/2), with C1 all ones and C2 the identity: 2 + 2 - 2 sqrt(2).
    assert distances.frechet(alike, apart) == pytest.approx(4 - 2 * np.sqrt(2), rel=0.02)


def test_the_discrepancy_is_as_by_hand() -> None:
    one, other = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    # k(x, y) = (xy + 1)^3: within 1 and 343, between 1, 1, 27, 64.
    assert distances.mmd(one, other) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_the_discrepancy_of_one_kind_is_0_on_average_however_few_there_are() -> None:
    found = [distances.mmd(normal(8, seed=2 * n), normal(8, seed=2 * n + 1)) for n in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert min(found) < 0
    assert distances.mmd(normal(200), normal(200, middle=1, seed=1)) > 0.5


def test_the_inception_score_of_sure_answers_is_the_number_of_classes() -> None:
    sure = np.eye(10)[np.arange(4000) % 10]
    assert distances.inception(sure, num_splits=1) == (pytest.approx(10), 0)
    mean, deviation = distances.inception(sure)
    assert mean == pytest.approx(10, rel=0.02)
    assert deviation < 0.1


def test_the_inception_score_does_not_depend_on_how_files_are_sorted() -> None:
    assert distances.inception(np.eye(10)[np.arange(4000) // 400])[0] == pytest.approx(10, rel=0.02)


def test_the_inception_score_is_1_where_nothing_is_told() -> None:
    assert distances.inception(np.full((100, 10), 0.1))[0] == pytest.approx(1)
    assert distances.inception(np.eye(10)[np.zeros(100, int)])[0] == pytest.approx(1)


def test_the_inception_score_is_as_by_hand() -> None:
    # Mean (1/2, 1/2); each clip's divergence is ln 2 + 0.9 ln 0.9 + 0.1 ln 0.1.
    expected = np.exp(np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert distances.inception(np.array([[0.9, 0.1], [0.1, 0.9]]), num_splits=1)[0] == pytest.approx(expected)


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(RequestError, match=r"features of shapes \(1, 4\) and \(5, 4\); expected .* two clips or more"):
        distances.frechet(normal(1), normal(5))
    with pytest.raises(RequestError, match=r"features of shapes \(5, 4\) and \(5, 3\)"):
        distances.mmd(normal(5), normal(5)[:, :3])
    with pytest.raises(RequestError, match="3 clips in 4 splits; expected a clip or more in each"):
        distances.inception(np.full((3, 10), 0.1))
