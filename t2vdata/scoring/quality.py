"""Measure a set of clips against real clips: Fréchet distance, MMD, inception score, GAN-test, GAN-train, memorization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from t2vdata.scoring import clip_classifier, distances, memorization
from t2vdata.scoring.grammar import Meaning
from t2vdata.scoring.memorization import Memorization
from t2vdata.scoring.motion import Video
from t2vdata.scoring.proportion import Proportion
from t2vdata.scoring.reference import ReferenceClips

TRAINING_STEPS = 400
"""Steps for which GAN-train trains its classifier."""


@dataclass(frozen=True)
class Quality:
    """Set metrics of clips; None for those that need real clips, or more clips than there are."""

    inception: tuple[float, float] | None
    """Mean and standard deviation over four splits; at most 40."""
    gan_test: Proportion
    """Clips that a classifier trained on real clips classifies as their captions say."""
    frechet: float | None = None
    """Distance from real training clips."""
    mmd: float | None = None
    """Squared distance from real training clips, unbiased."""
    memorization: Memorization | None = None
    gan_train: Proportion | None = None
    """Real clips that a classifier trained on these clips classifies as their captions say."""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, with the intervals."""
        return {
            "inception": None if self.inception is None else {"mean": self.inception[0], "deviation": self.inception[1]},
            "gan_test": self.gan_test.as_json(),
            "frechet": self.frechet,
            "mmd": self.mmd,
            "memory": None if self.memorization is None else self.memorization.as_json(),
            "gan_train": None if self.gan_train is None else self.gan_train.as_json(),
        }


def quality(videos: Sequence[Video], meanings: Sequence[Meaning], reference: ReferenceClips | None = None) -> Quality:
    """Measure clips (T, H, W) uint8 whose captions mean ``meanings``, against real clips; without GAN-train."""
    predictions = clip_classifier.predict(clip_classifier.inputs(videos))
    features = predictions.features
    train_features = reference.train_predictions.features if reference and len(videos) > 1 else None
    return Quality(
        distances.inception(predictions.joint) if len(videos) >= 4 else None,
        Proportion(predictions.num_correct(meanings), len(videos)),
        None if train_features is None else distances.frechet(features, train_features),
        None if train_features is None else distances.mmd(features, train_features),
        None if reference is None else _memorization(videos, reference),
    )


def _memorization(videos: Sequence[Video], reference: ReferenceClips) -> Memorization | None:
    digits = memorization.digits_of(videos)
    distances_to_train = memorization.nearest_distances(digits, reference.train_digits)
    return memorization.measure(distances_to_train, reference.unseen_distances)


def gan_train(
    clips_N1THW: torch.Tensor,
    meanings: Sequence[Meaning],
    real_N1THW: torch.Tensor,
    real_meanings: Sequence[Meaning],
    *,
    steps: int = TRAINING_STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> Proportion:
    """Train a classifier on clips and return how many real clips it classifies correctly, in digit and first direction.

    Both sets of clips are as ``clip_classifier.inputs`` makes them. K. Shmelkov, C. Schmid, K. Alahari: How good is my GAN?
    (2018).
    """
    from t2vdata.scoring.train_clip_classifier import fit

    model = fit(clips_N1THW, meanings, steps=steps, progress=progress)
    return Proportion(clip_classifier.predict(real_N1THW, model).num_correct(real_meanings), len(real_meanings))
