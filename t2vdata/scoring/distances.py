"""How far two sets of clips are apart, and how much a set shows: functions of features (N, F) and of probabilities (N, K)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError

Floats = NDArray[np.float64]


def frechet(one: Floats, other: Floats) -> float:
    """Return the Frechet distance of two sets of features, as if normally distributed; 0 for the same set.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): D. C. Dowson and B. V. Landau (1982); for images M. Heusel et al. (2017),
    equation 6. It grows as sets get smaller: compare sets of one size. Raises RequestError for less than two clips.
    """
    _check(one, other)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    # tr (C1 C2)^(1/2) by way of a symmetric matrix with the same eigenvalues.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    apart = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return max(0.0, float(apart + np.trace(first) + np.trace(second) - 2 * shared))


def mmd(one: Floats, other: Floats) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy with the kernel (x.y / F + 1)^3.

    M. Binkowski et al., Demystifying MMD GANs (2018), section 4: on average 0 for sets of one kind, whatever their size, so
    that it may come out below 0. Raises RequestError for less than two clips.
    """
    _check(one, other)
    within = []
    for features in (one, other):
        kernel = _kernel(features, features)
        within.append((kernel.sum() - np.trace(kernel)) / (len(features) * (len(features) - 1)))
    return float(sum(within) - 2 * _kernel(one, other).mean())


def inception(probabilities: Floats, *, num_splits: int = 4, seed: int = 0) -> tuple[float, float]:
    """Return exp E KL(p(y|x) || p(y)), T. Salimans et al. (2016), section 4: mean and standard deviation over splits.

    The splits share no clip and are drawn, as files are often sorted by caption. 1 where all clips look alike or unsure; K, the
    number of classes, where each clip is clearly of one class and all classes are as many. Raises RequestError for fewer clips
    than splits.
    """
    if len(probabilities) < num_splits or num_splits < 1:
        raise RequestError(f"{len(probabilities)} clips in {num_splits} splits; expected a clip or more in each")
    drawn = probabilities[np.random.default_rng(seed).permutation(len(probabilities))]
    found = []
    for part in np.array_split(drawn, num_splits):
        of_all = np.broadcast_to(part.mean(axis=0), part.shape)
        # 0 log 0 is 0.
        ratio = np.divide(part, of_all, out=np.ones_like(part), where=part > 0)
        found.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(found)), float(np.std(found))


def _kernel(one: Floats, other: Floats) -> Floats:
    found: Floats = (one @ other.T / one.shape[1] + 1) ** 3
    return found


def _check(one: Floats, other: Floats) -> None:
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise RequestError(f"features of shapes {one.shape} and {other.shape}; expected (N, F) and (M, F) of two clips or more")
