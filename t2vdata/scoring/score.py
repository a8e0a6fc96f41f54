"""Whether clips match their captions: accuracies with their intervals, and the controls to read them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError
from t2vdata.scoring import classifier, digits, grammar, motion
from t2vdata.scoring.grammar import Meaning
from t2vdata.scoring.motion import Video, grey
from t2vdata.scoring.quality import Quality, gan_train, quality
from t2vdata.scoring.real import Real
from t2vdata.scoring.retrieval import nearest_training_clips
from t2vdata.scoring.shares import Share

__all__ = ["Full", "Score", "Share", "controls", "full", "grey", "score", "table"]

NEAREST = "nearest training clip"


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
            told[name] = getattr(self, name).as_json()
        return told


@dataclass(frozen=True)
class Full:
    """All that is scored: clip by clip against the captions, and as a set against real clips."""

    match: Score
    quality: Quality

    def as_json(self) -> dict[str, Any]:
        """Return both as one object of JSON values."""
        return self.match.as_json() | self.quality.as_json()


def score(videos: Sequence[Video], captions: Sequence[str]) -> Score:
    """Return how well clips match their captions. ``videos`` are (T, H, W) or (T, H, W, C) uint8, one for each caption.

    Raises RequestError for captions that are none of one moving digit, for clips of another type, and where counts differ.
    """
    _check(videos, captions)
    return _Row.of([grey(video) for video in videos], captions).match()


def controls(
    videos: Sequence[Video],
    captions: Sequence[str],
    *,
    seed: int = 0,
    train: tuple[Sequence[Video], Sequence[str]] | None = None,
) -> dict[str, Score]:
    """Return the scores of real clips with something taken from them: what a score means is seen beside these.

    With ``train``, training clips and their captions, also of the nearest of these for each caption.
    """
    _check(videos, captions)
    return {name: row.match() for name, row in _control_rows(videos, captions, train, seed).items()}


def full(
    videos: Sequence[Video], captions: Sequence[str], *, real: Real | None = None, gan_train_steps: int | None = None
) -> Full:
    """Return all that is scored of clips; without ``real`` ones, what can be said without them.

    ``gan_train_steps``, such as quality.TRAINING_STEPS, also trains a classifier on the clips and tests it on the real held-out
    ones: a minute or so. Raises RequestError as ``score`` does, and for GAN-train without real clips.
    """
    if gan_train_steps is not None and real is None:
        raise RequestError("GAN-train tests on real clips, and there are none; expected real=Real.of_dataset(...)")
    _check(videos, captions)
    return _Row.of([grey(video) for video in videos], captions).full(real, gan_train_steps)


def table(
    yours: Mapping[str, tuple[Sequence[Video], Sequence[str]]] | None = None,
    real: Real | None = None,
    *,
    gan_train_steps: int | None = None,
    seed: int = 0,
) -> dict[str, Full]:
    """Return the rows of the benchmark's table: of each set of clips and captions, by its name, and then of the controls.

    GAN-train of controls that are made of held-out clips is tested on training clips: never on what it was trained on.
    """
    found = {
        name: full(videos, captions, real=real, gan_train_steps=gan_train_steps)
        for name, (videos, captions) in (yours or {}).items()
    }
    if real is None:
        return found
    rows = _control_rows(real.videos, real.captions, (real.train_videos, real.train_captions), seed)
    return found | {name: row.full(real, gan_train_steps, by_training=name != NEAREST) for name, row in rows.items()}


@dataclass(frozen=True)
class _Row:
    """Clips in grey with their captions, and what the oracles say of each."""

    videos: Sequence[Video]
    captions: Sequence[str]
    seen: Sequence[_Seen]

    @classmethod
    def of(cls, videos: Sequence[Video], captions: Sequence[str]) -> _Row:
        return cls(videos, captions, [_Seen.of(video) for video in videos])

    @property
    def wanted(self) -> list[Meaning]:
        return [grammar.meaning_of(caption) for caption in self.captions]

    def match(self) -> Score:
        pairs = list(zip(self.seen, self.wanted, strict=True))
        right = {
            "digit": [one.digit == meaning.digit for one, meaning in pairs],
            "axis": [one.motion.axis == meaning.axis for one, meaning in pairs],
            "direction": [one.motion.direction == meaning.direction for one, meaning in pairs],
        }
        both = [digit and direction for digit, direction in zip(right["digit"], right["direction"], strict=True)]
        return Score(
            caption=Share(sum(both), len(both)),
            **{name: Share(sum(found), len(found)) for name, found in right.items()},
            constancy=float(np.mean([one.constancy for one in self.seen])),
            no_digit=float(np.mean([one.digit == digits.NO_DIGIT for one in self.seen])),
            jitter=float(np.mean([100 * one.motion.jitter / one.side for one in self.seen])),
            diversity=_diversity(np.stack([one.features for one in self.seen]), self.captions),
        )

    def full(self, real: Real | None, gan_train_steps: int | None, *, by_training: bool = False) -> Full:
        found = quality(self.videos, self.wanted, real)
        if real is not None and gan_train_steps is not None:
            inputs, captions = (real.train_inputs, real.shown_captions) if by_training else (real.inputs, real.captions)
            shown = [grammar.meaning_of(caption) for caption in captions]
            share = gan_train(classifier.inputs(self.videos), self.wanted, inputs, shown, steps=gan_train_steps)
            found = replace(found, gan_train=share)
        return Full(self.match(), found)


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


def _control_rows(
    videos: Sequence[Video], captions: Sequence[str], train: tuple[Sequence[Video], Sequence[str]] | None, seed: int
) -> dict[str, _Row]:
    draws = np.random.default_rng(seed)
    real = _Row.of([grey(video) for video in videos], captions)
    rows = {"real": real, "shuffled captions": replace(real, captions=[captions[n] for n in draws.permutation(len(captions))])}
    firsts = [video[:1] for video in real.videos]
    rows["first frame alone"] = _Row.of(
        [first.repeat(len(video), axis=0) for first, video in zip(firsts, real.videos, strict=True)], captions
    )
    shuffled = [video[draws.permutation(len(video))] for video in real.videos]
    # Which digit a frame shows does not depend on its place.
    seen = [replace(one, motion=motion.judge(video)) for one, video in zip(real.seen, shuffled, strict=True)]
    rows["shuffled frames"] = _Row(shuffled, captions, seen)
    if train is not None:
        chosen = nearest_training_clips(captions, train[1])
        rows[NEAREST] = _Row.of([grey(train[0][number]) for number in chosen], captions)
    return rows


def _check(videos: Sequence[Video], captions: Sequence[str]) -> None:
    if len(videos) != len(captions) or not len(videos):
        raise RequestError(f"{len(videos)} clips and {len(captions)} captions; expected as many, and one or more")
    for caption in captions:
        grammar.meaning_of(caption)


def _diversity(features: NDArray[np.float32], captions: Sequence[str]) -> float | None:
    """Return the mean distance of two clips of one caption, each caption with the same weight."""
    found = []
    for caption in dict.fromkeys(captions):
        own = features[[place for place, one in enumerate(captions) if one == caption]]
        if len(own) > 1:
            apart = np.linalg.norm(own[:, None] - own[None], axis=2)
            found.append(apart[np.triu_indices(len(own), 1)].mean())
    return float(np.mean(found)) if found else None
