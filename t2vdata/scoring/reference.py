"""``ReferenceClips``: the real clips that generated clips are compared with, from training and held out."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split, open_dataset
from t2vdata.scoring import clip_classifier, memorization
from t2vdata.scoring.clip_classifier import Predictions
from t2vdata.scoring.clip_files import evenly_spaced
from t2vdata.scoring.motion import Video, grey
from t2vdata.scoring.progress import Progress, silent, tracked

# With this many clips, means and covariances of features are accurate to a few percent.
_MAX_TRAIN_CLIPS = 4000


@dataclass(frozen=True)
class ReferenceClips:
    """Training clips and held-out clips, with their captions. Derived values are computed on first use and kept."""

    train_videos: Sequence[Video] = field(repr=False)
    """All training clips, (T, H, W) or (T, H, W, C) uint8; the sequence may read each clip on access."""
    train_captions: Sequence[str] = field(repr=False)
    videos: Sequence[Video] = field(repr=False)
    """Held-out clips, of handwriting that is not in training."""
    captions: Sequence[str] = field(repr=False)
    progress: Progress = field(default=silent, repr=False, compare=False)
    """Called while derived values are computed."""

    def __post_init__(self) -> None:
        for name, videos, captions in (
            ("training", self.train_videos, self.train_captions),
            ("held-out", self.videos, self.captions),
        ):
            if len(videos) != len(captions) or len(videos) < 2:
                raise RequestError(
                    f"{len(videos)} {name} clips and {len(captions)} captions; expected equal numbers, at least two"
                )

    @classmethod
    def from_dataset(
        cls,
        path: str | os.PathLike[str],
        split: str = "test",
        *,
        num_clips: int | None = None,
        progress: Progress = silent,
    ) -> ReferenceClips:
        """Return the training clips of a dataset, and clips of a split: ``num_clips``, evenly spaced, or all."""
        dataset = open_dataset(path)
        held_out = dataset[split]
        indices = evenly_spaced(len(held_out), num_clips)
        chosen = [held_out[index] for index in tracked(indices, len(indices), "reading real clips", progress)]
        rows = dataset.index
        train = rows[rows["split"] == "train"]
        return cls(
            _Videos(dataset["train"]),
            [captions[0] for captions in train["captions"]],
            [item.frames.data for item in chosen],
            [item.captions[0] for item in chosen],
            progress,
        )

    @functools.cached_property
    def train_indices(self) -> list[int]:
        """Indices of the training clips that distances are measured to: 4,000, evenly spaced, or all."""
        return evenly_spaced(len(self.train_videos), _MAX_TRAIN_CLIPS)

    @functools.cached_property
    def train_inputs(self) -> torch.Tensor:
        """The clips at ``train_indices``, as input of the clip classifier."""
        indices = tracked(self.train_indices, len(self.train_indices), "reading training clips", self.progress)
        return clip_classifier.inputs(grey(self.train_videos[index]) for index in indices)

    @property
    def train_input_captions(self) -> list[str]:
        """The captions of ``train_inputs``."""
        return [self.train_captions[index] for index in self.train_indices]

    @functools.cached_property
    def train_predictions(self) -> Predictions:
        """The clip classifier's outputs for ``train_inputs``."""
        return clip_classifier.predict(self.train_inputs)

    @functools.cached_property
    def inputs(self) -> torch.Tensor:
        """The held-out clips, as input of the clip classifier."""
        return clip_classifier.inputs(map(grey, self.videos))

    @functools.cached_property
    def train_digits(self) -> memorization.Digits:
        """The digits of all training clips."""
        videos = tracked(self.train_videos, len(self.train_videos), "reading the digits of all training clips", self.progress)
        return memorization.digits_of(map(grey, videos))

    @functools.cached_property
    def unseen_distances(self) -> NDArray[np.float32]:
        """Distances of the held-out digits to the nearest training digit."""
        return memorization.nearest_distances(memorization.digits_of(map(grey, self.videos)), self.train_digits)


class _Videos(Sequence[Video]):
    """The clips of a split, each read on access."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    @overload
    def __getitem__(self, index: int) -> Video: ...
    @overload
    def __getitem__(self, index: slice) -> list[Video]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[item] for item in range(*index.indices(len(self)))]
        return self._split[index].frames.data
