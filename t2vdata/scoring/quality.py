"""How near clips are to real ones as a set, and whether they are copies: what captions alone do not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from t2vdata.scoring import classifier, distances, memory
from t2vdata.scoring.grammar import Meaning
from t2vdata.scoring.memory import Memory
from t2vdata.scoring.motion import Video
from t2vdata.scoring.real import Real
from t2vdata.scoring.shares import Share

TRAINING_STEPS = 400
"""Of the classifier of GAN-train."""


@dataclass(frozen=True)
class Quality:
    """What the clip classifier says of clips; what needs real clips, or more clips than there are, is None."""

    inception: tuple[float, float] | None
    """Mean and standard deviation over four splits; 40 at most."""
    gan_test: Share
    """Clips that the classifier, which learnt from real ones, takes for what their captions ask."""
    frechet: float | None = None
    """From real training clips."""
    mmd: float | None = None
    """From real training clips, squared and unbiased."""
    memory: Memory | None = None
    gan_train: Share | None = None
    """Real clips that a classifier which learnt from these takes for what their captions ask."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, with the intervals."""
        return {
            "inception": None if self.inception is None else {"mean": self.inception[0], "deviation": self.inception[1]},
            "gan_test": self.gan_test.as_json(),
            "frechet": self.frechet,
            "mmd": self.mmd,
            "memory": None if self.memory is None else self.memory.as_json(),
            "gan_train": None if self.gan_train is None else self.gan_train.as_json(),
        }


def quality(videos: Sequence[Video], wanted: Sequence[Meaning], real: Real | None = None) -> Quality:
    """Return the quality of clips (T, H, W) uint8 that should show what is wanted, beside real ones, without GAN-train."""
    watched = classifier.watch(classifier.inputs(videos))
    enough = len(videos) > 1
    return Quality(
        distances.inception(watched.meanings) if len(videos) >= 4 else None,
        Share(watched.num_right(wanted), len(videos)),
        distances.frechet(watched.features, real.train_watched.features) if real and enough else None,
        distances.mmd(watched.features, real.train_watched.features) if real and enough else None,
        memory.memory(memory.nearest(memory.digits_of(videos), real.train_digits), real.unseen_distances) if real else None,
    )


def gan_train(
    clips_N1THW: torch.Tensor,
    wanted: Sequence[Meaning],
    real_N1THW: torch.Tensor,
    shown: Sequence[Meaning],
    *,
    steps: int = TRAINING_STEPS,
) -> Share:
    """Return how many real clips a classifier tells rightly that learnt from other clips, as ``classifier.inputs`` makes them.

    K. Shmelkov, C. Schmid, K. Alahari: How good is my GAN? (2018). Digit and first direction both count.
    """
    from t2vdata.scoring.train_classifier import fit

    learnt = fit(clips_N1THW, wanted, steps=steps)
    return Share(classifier.watch(real_N1THW, learnt).num_right(shown), len(shown))
