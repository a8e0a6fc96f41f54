"""Fréchet distance, MMD and inception score of sets of clips: functions of features (N, F) and of probabilities (N, K)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError

Floats = NDArray[np.float64]


def frechet(features: Floats, others: Floats) -> float:
    """Return the Frechet distance between two sets of features, taken as normal distributions; 0 for the same set.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): D. C. Dowson and B. V. Landau (1982); for images M. Heusel et al. (2017),
    equation 6. It is larger for smaller sets, so compare sets of the same size. Raises RequestError for fewer than two clips.
    """
    _check(features, others)
    first, second = np.cov(features, rowvar=False), np.cov(others, rowvar=False)
    # tr (C1 C2)^(1/2), from a symmetric matrix with the same eigenvalues.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    apart = np.square(features.mean(axis=0) - others.mean(axis=0)).sum()
    return max(0.0, float(apart + np.trace(first) + np.trace(second) - 2 * shared))


def mmd(features: Floats, others: Floats) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy with the kernel (x.y / F + 1)^3.

    M. Binkowski et al., Demystifying MMD GANs (2018), section 4. Its mean is 0 for two sets of the same distribution, whatever
    their size, so it can be negative. Raises RequestError for fewer than two clips.
    """
    _check(features, others)
    within = []
    for own in (features, others):
        kernel = _kernel(own, own)
        within.append((kernel.sum() - np.trace(kernel)) / (len(own) * (len(own) - 1)))
    return float(sum(within) - 2 * _kernel(features, others).mean())


def inception(probabilities: Floats, *, num_splits: int = 4, seed: int = 0) -> tuple[float, float]:
    """Return exp E KL(p(y|x) || p(y)), T. Salimans et al. (2016), section 4: mean and standard deviation over splits.

    The splits are disjoint and random, as files are often sorted by caption. The score is 1 if all clips look alike or are
    ambiguous, and K, the number of classes, if each clip clearly belongs to one class and all classes are equally frequent.
    Raises RequestError for fewer clips than splits.
    """
    if len(probabilities) < num_splits or num_splits < 1:
        raise RequestError(f"{len(probabilities)} clips in {num_splits} splits; expected at least one clip in each")
    shuffled = probabilities[np.random.default_rng(seed).permutation(len(probabilities))]
    scores = []
    for part in np.array_split(shuffled, num_splits):
        marginal = np.broadcast_to(part.mean(axis=0), part.shape)
        # 0 log 0 is 0.
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _kernel(features: Floats, others: Floats) -> Floats:
    kernel: Floats = (features @ others.T / features.shape[1] + 1) ** 3
    return kernel


def _check(features: Floats, others: Floats) -> None:
    is_2d = features.ndim == others.ndim == 2
    if not is_2d or features.shape[1] != others.shape[1] or min(len(features), len(others)) < 2:
        shapes = f"{features.shape} and {others.shape}"
        raise RequestError(f"features of shapes {shapes}; expected (N, F) and (M, F) of two clips or more")
