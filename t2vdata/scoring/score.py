"""Whether clips match their captions: accuracies with their intervals, and the controls to read them by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError
from t2vdata.scoring import digits, grammar, motion
from t2vdata.scoring.motion import Video

# Of a normal distribution: 95 % lie within.
_Z = 1.959964


@dataclass(frozen=True)
class Share:
    """How many of some clips did it, with Wilson's interval of 95 %."""

    num_right: int
    num_clips: int

    @property
    def value(self) -> float:
        return self.num_right / self.num_clips

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval of E. B. Wilson, Probable inference (1927)."""
        n, share = self.num_clips, self.value
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Score:
    """How well clips match their captions."""

    caption: Share
    """Digit, axis and first direction are all right; chance is 1/40."""
    digit: Share
    axis: Share
    direction: Share
    """The first direction; the axis with it."""
    constancy: float
    """Share of the frames of a clip that show the digit of most of them, on average: a digit that morphs has less."""
    no_digit: float
    """Share of clips most of whose frames show no digit."""
    jitter: float
    """Standard deviation across the axis, in percent of the frame's side, on average."""
    diversity: float | None
    """Distance of two clips of one caption in the features of the digit network, on average; None where captions occur once."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, with the intervals."""
        told = asdict(self)
        for name in ("caption", "digit", "axis", "direction"):
            share: Share = getattr(self, name)
            told[name] = {"share": share.value, "interval": share.interval, "clips": share.num_clips}
        return told


def score(videos: Sequence[Video], captions: Sequence[str]) -> Score:
    """Return how well clips match their captions. ``videos`` are (T, H, W) or (T, H, W, C) uint8, one for each caption.

    Raises RequestError for captions that are none of one moving digit, for clips of another type, and where counts differ.
    """
    if len(videos) != len(captions) or not len(videos):
        raise RequestError(f"{len(videos)} clips and {len(captions)} captions; expected as many, and one or more")
    wanted = [grammar.meaning_of(caption) for caption in captions]
    seen = [_Seen.of(grey(video)) for video in videos]
    right = {
        "digit": [one.digit == meaning.digit for one, meaning in zip(seen, wanted, strict=True)],
        "axis": [one.motion.axis == meaning.axis for one, meaning in zip(seen, wanted, strict=True)],
        "direction": [one.motion.direction == meaning.direction for one, meaning in zip(seen, wanted, strict=True)],
    }
    shares = {name: Share(sum(found), len(found)) for name, found in right.items()}
    both = [digit and direction for digit, direction in zip(right["digit"], right["direction"], strict=True)]
    return Score(
        caption=Share(sum(both), len(both)),
        **shares,
        constancy=float(np.mean([one.constancy for one in seen])),
        no_digit=float(np.mean([one.digit == digits.NO_DIGIT for one in seen])),
        jitter=float(np.mean([100 * one.motion.jitter / one.side for one in seen])),
        diversity=_diversity(np.stack([one.features for one in seen]), captions),
    )


def controls(videos: Sequence[Video], captions: Sequence[str], *, seed: int = 0) -> dict[str, Score]:
    """Return the scores of real clips with something taken from them: what a score means is seen beside these."""
    draws = np.random.default_rng(seed)
    greys = [grey(video) for video in videos]
    return {
        "real": score(greys, captions),
        "shuffled captions": score(greys, [captions[place] for place in draws.permutation(len(captions))]),
        "first frame alone": score([video[:1].repeat(len(video), axis=0) for video in greys], captions),
        "shuffled frames": score([video[draws.permutation(len(video))] for video in greys], captions),
    }


def grey(video: NDArray[Any]) -> Video:
    """Return a clip (T, H, W) or (T, H, W, 1 or 3) uint8 in grey, (T, H, W). Raises RequestError for anything else."""
    if (
        video.dtype != np.uint8
        or video.ndim not in (3, 4)
        or 0 in video.shape
        or (video.ndim == 4 and video.shape[3] not in (1, 3))
    ):
        raise RequestError(f"a clip of shape {video.shape} {video.dtype}; expected (T, H, W) or (T, H, W, 1 or 3) uint8")
    if video.ndim == 3:
        return video
    # ITU-R BT.601, in integers.
    return video[..., 0] if video.shape[3] == 1 else ((video @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)


@dataclass(frozen=True)
class _Seen:
    """What the oracles say of a clip."""

    digit: int
    constancy: float
    motion: motion.Motion
    features: NDArray[np.float32]
    side: int

    @classmethod
    def of(cls, video: Video) -> _Seen:
        told, features = digits.look(video)
        counts = np.bincount(told, minlength=digits.NO_DIGIT + 1)
        return cls(
            int(counts.argmax()),
            float(counts.max() / len(told)),
            motion.judge(video),
            features.mean(axis=0),
            max(video.shape[1:]),
        )


def _diversity(features: NDArray[np.float32], captions: Sequence[str]) -> float | None:
    """Return the mean distance of two clips of one caption, each caption with the same weight."""
    found = []
    for caption in dict.fromkeys(captions):
        own = features[[place for place, one in enumerate(captions) if one == caption]]
        if len(own) > 1:
            apart = np.linalg.norm(own[:, None] - own[None], axis=2)
            found.append(apart[np.triu_indices(len(own), 1)].mean())
    return float(np.mean(found)) if found else None
