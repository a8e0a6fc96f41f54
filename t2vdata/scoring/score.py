"""Score how well clips match their captions, beside real and degraded real clips as controls."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RequestError
from t2vdata.scoring import clip_classifier, digit_classifier, grammar, motion
from t2vdata.scoring.grammar import Meaning
from t2vdata.scoring.motion import Video, grey
from t2vdata.scoring.progress import Progress, silent, tracked
from t2vdata.scoring.proportion import Proportion
from t2vdata.scoring.quality import Quality, gan_train, quality
from t2vdata.scoring.reference import ReferenceClips
from t2vdata.scoring.retrieval import nearest_training_clips

__all__ = ["FullScore", "Proportion", "Score", "controls", "full_score", "grey", "score", "table"]

NEAREST = "nearest training clip"
_NO_REAL_CLIPS = "GAN-train tests on real clips, but there are none; pass reference=ReferenceClips(...)"


@dataclass(frozen=True)
class Score:
    """How well clips match their captions."""

    caption: Proportion
    """Digit, axis and first direction are all correct; chance is 1/40."""
    digit: Proportion
    axis: Proportion
    direction: Proportion
    """The first direction is correct, which implies the axis."""
    constancy: float
    """Share of a clip's frames that show its most frequent digit, averaged over clips; lower for digits that morph."""
    no_digit: float
    """Share of clips in which most frames show no digit."""
    jitter: float
    """Standard deviation across the axis, in percent of the frame's side, averaged over clips."""
    diversity: float | None
    """Mean distance between clips of the same caption, in the digit network's features; None if no caption occurs twice."""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values, with the intervals."""
        values = asdict(self)
        for name in ("caption", "digit", "axis", "direction"):
            values[name] = getattr(self, name).as_json()
        return values


@dataclass(frozen=True)
class FullScore:
    """All scores: each clip against its caption, and the set against real clips."""

    match: Score
    quality: Quality

    def as_json(self) -> dict[str, Any]:
        """Return both as a single object of JSON values."""
        return self.match.as_json() | self.quality.as_json()


def score(videos: Sequence[Video], captions: Sequence[str]) -> Score:
    """Score how well clips match their captions. ``videos`` are (T, H, W) or (T, H, W, C) uint8, one for each caption.

    Raises RequestError for captions that are not of one moving digit, for clips of another type, and if the counts differ.
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
    """Score real clips, unchanged and degraded, as a reference for other scores.

    With ``train``, training clips and their captions, also scores the nearest training clip of each caption.
    """
    _check(videos, captions)
    return {name: row.match() for name, row in _control_rows(videos, captions, train, seed).items()}


def full_score(
    videos: Sequence[Video],
    captions: Sequence[str],
    *,
    reference: ReferenceClips | None = None,
    gan_train_steps: int | None = None,
) -> FullScore:
    """Compute all scores of clips; those that need real clips only with ``reference``.

    ``gan_train_steps``, such as quality.TRAINING_STEPS, adds GAN-train: a classifier is trained on the clips and tested on the
    held-out real clips, about a minute. Raises RequestError as ``score`` does, and for GAN-train without real clips.
    """
    if gan_train_steps is not None and reference is None:
        raise RequestError(_NO_REAL_CLIPS)
    _check(videos, captions)
    return _Row.of([grey(video) for video in videos], captions).full(reference, gan_train_steps)


def table(
    yours: Mapping[str, tuple[Sequence[Video], Sequence[str]]] | None = None,
    reference: ReferenceClips | None = None,
    *,
    gan_train_steps: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, FullScore]:
    """Return the rows of the benchmark's table: each named set of clips and captions, then the controls.

    GAN-train of controls that are made from held-out clips is tested on training clips, so never on what it was trained on.
    """
    if gan_train_steps is not None and reference is None:
        raise RequestError(_NO_REAL_CLIPS)
    scores = {}
    for name, (videos, captions) in (yours or {}).items():
        _check(videos, captions)
        row = _Row.of([grey(video) for video in videos], captions, name, progress)
        scores[name] = row.full(reference, gan_train_steps, name, progress)
    if reference is None:
        return scores
    train = reference.train_videos, reference.train_captions
    for name, row in _control_rows(reference.videos, reference.captions, train, seed, progress).items():
        scores[name] = row.full(reference, gan_train_steps, name, progress, test_on_train=name != NEAREST)
    return scores


@dataclass(frozen=True)
class _Row:
    """Grey clips with their captions, and the measurements of each clip."""

    videos: Sequence[Video]
    captions: Sequence[str]
    clips: Sequence[_ClipMeasurement]

    @classmethod
    def of(cls, videos: Sequence[Video], captions: Sequence[str], name: str = "", progress: Progress = silent) -> _Row:
        measured = tracked(videos, len(videos), f"measuring clips: {name}", progress)
        return cls(videos, captions, [_ClipMeasurement.of(video) for video in measured])

    @property
    def meanings(self) -> list[Meaning]:
        return [grammar.meaning_of(caption) for caption in self.captions]

    def match(self) -> Score:
        pairs = list(zip(self.clips, self.meanings, strict=True))
        correct = {
            "digit": [clip.digit == meaning.digit for clip, meaning in pairs],
            "axis": [clip.motion.axis == meaning.axis for clip, meaning in pairs],
            "direction": [clip.motion.direction == meaning.direction for clip, meaning in pairs],
        }
        both = [digit and direction for digit, direction in zip(correct["digit"], correct["direction"], strict=True)]
        return Score(
            caption=Proportion(sum(both), len(both)),
            **{name: Proportion(sum(flags), len(flags)) for name, flags in correct.items()},
            constancy=float(np.mean([clip.constancy for clip in self.clips])),
            no_digit=float(np.mean([clip.digit == digit_classifier.NO_DIGIT for clip in self.clips])),
            jitter=float(np.mean([100 * clip.motion.jitter / clip.side for clip in self.clips])),
            diversity=_diversity(np.stack([clip.features for clip in self.clips]), self.captions),
        )

    def full(
        self,
        reference: ReferenceClips | None,
        gan_train_steps: int | None,
        name: str = "",
        progress: Progress = silent,
        *,
        test_on_train: bool = False,
    ) -> FullScore:
        measured = quality(self.videos, self.meanings, reference)
        if reference is not None and gan_train_steps is not None:
            inputs, captions = reference.inputs, reference.captions
            if test_on_train:
                inputs, captions = reference.train_inputs, reference.train_input_captions
            real_meanings = [grammar.meaning_of(caption) for caption in captions]
            own_inputs = clip_classifier.inputs(self.videos)
            proportion = gan_train(
                own_inputs,
                self.meanings,
                inputs,
                real_meanings,
                steps=gan_train_steps,
                progress=functools.partial(progress, f"training a classifier: {name}"),
            )
            measured = replace(measured, gan_train=proportion)
        return FullScore(self.match(), measured)


@dataclass(frozen=True)
class _ClipMeasurement:
    """The digit and motion of a clip."""

    digit: int
    """The most frequent class of its frames."""
    constancy: float
    motion: motion.Motion
    features: NDArray[np.float32]
    side: int

    @classmethod
    def of(cls, video: Video) -> _ClipMeasurement:
        classes, features = digit_classifier.classify(video)
        counts = np.bincount(classes, minlength=digit_classifier.NO_DIGIT + 1)
        return cls(
            int(counts.argmax()),
            float(counts.max() / len(classes)),
            motion.measure(video),
            features.mean(axis=0),
            max(video.shape[1:]),
        )


def _control_rows(
    videos: Sequence[Video],
    captions: Sequence[str],
    train: tuple[Sequence[Video], Sequence[str]] | None,
    seed: int,
    progress: Progress = silent,
) -> dict[str, _Row]:
    rng = np.random.default_rng(seed)
    real = _Row.of([grey(video) for video in videos], captions, "real", progress)
    rows = {"real": real, "shuffled captions": replace(real, captions=[captions[n] for n in rng.permutation(len(captions))])}
    firsts = [video[:1] for video in real.videos]
    stills = [first.repeat(len(video), axis=0) for first, video in zip(firsts, real.videos, strict=True)]
    rows["first frame alone"] = _Row.of(stills, captions, "first frame alone", progress)
    shuffled = [video[rng.permutation(len(video))] for video in real.videos]
    # Shuffling frames changes the motion of a clip but not the digits of its frames.
    clips = [replace(clip, motion=motion.measure(video)) for clip, video in zip(real.clips, shuffled, strict=True)]
    rows["shuffled frames"] = _Row(shuffled, captions, clips)
    if train is not None:
        nearest = nearest_training_clips(captions, train[1])
        rows[NEAREST] = _Row.of([grey(train[0][index]) for index in nearest], captions, NEAREST, progress)
    return rows


def _check(videos: Sequence[Video], captions: Sequence[str]) -> None:
    if len(videos) != len(captions) or not len(videos):
        raise RequestError(f"{len(videos)} clips and {len(captions)} captions; expected equal numbers, at least one")
    for caption in captions:
        grammar.meaning_of(caption)


def _diversity(features: NDArray[np.float32], captions: Sequence[str]) -> float | None:
    """Return the mean distance between clips of the same caption; every caption has the same weight."""
    means = []
    for caption in dict.fromkeys(captions):
        same = features[[index for index, other in enumerate(captions) if other == caption]]
        if len(same) > 1:
            apart = np.linalg.norm(same[:, None] - same[None], axis=2)
            means.append(apart[np.triu_indices(len(same), 1)].mean())
    return float(np.mean(means)) if means else None
