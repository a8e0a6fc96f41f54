"""Real clips that others are compared with: those a model may have seen, and those it has not."""

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
from t2vdata.scoring import classifier, memory
from t2vdata.scoring.classifier import Watched
from t2vdata.scoring.clips import evenly
from t2vdata.scoring.motion import Video, grey

# So many features have means and covariances to within a few percent; more would cost and say the same.
_MOST = 4000


@dataclass(frozen=True)
class Real:
    """Training clips, and clips of another split, with their captions. What is derived of them is made once, when asked for."""

    train_videos: Sequence[Video] = field(repr=False)
    """All training clips (T, H, W) or (T, H, W, C) uint8, in any Sequence: each is read when it is looked at."""
    train_captions: Sequence[str] = field(repr=False)
    videos: Sequence[Video] = field(repr=False)
    """Clips of handwriting that training has not."""
    captions: Sequence[str] = field(repr=False)

    def __post_init__(self) -> None:
        for name, videos, captions in (
            ("training", self.train_videos, self.train_captions),
            ("held-out", self.videos, self.captions),
        ):
            if len(videos) != len(captions) or len(videos) < 2:
                raise RequestError(f"{len(videos)} {name} clips and {len(captions)} captions; expected as many, two or more")

    @classmethod
    def of_dataset(cls, path: str | os.PathLike[str], split: str = "test", *, num_clips: int | None = None) -> Real:
        """Return the training clips of a dataset, and clips of a split, evenly chosen where not all are wanted."""
        dataset = open_dataset(path)
        found = dataset[split]
        chosen = [found[place] for place in evenly(len(found), num_clips)]
        rows = dataset.index
        train = rows[rows["split"] == "train"]
        return cls(
            _Videos(dataset["train"]),
            [captions[0] for captions in train["captions"]],
            [item.frames.data for item in chosen],
            [item.captions[0] for item in chosen],
        )

    @functools.cached_property
    def train_places(self) -> list[int]:
        """Numbers of the training clips that distances are measured to: 4,000, evenly chosen, or all."""
        return evenly(len(self.train_videos), _MOST)

    @functools.cached_property
    def train_inputs(self) -> torch.Tensor:
        """These clips as the classifier sees them."""
        return classifier.inputs(grey(self.train_videos[place]) for place in self.train_places)

    @property
    def shown_captions(self) -> list[str]:
        """Their captions."""
        return [self.train_captions[place] for place in self.train_places]

    @functools.cached_property
    def train_watched(self) -> Watched:
        """What it says of them."""
        return classifier.watch(self.train_inputs)

    @functools.cached_property
    def inputs(self) -> torch.Tensor:
        return classifier.inputs(map(grey, self.videos))

    @functools.cached_property
    def train_digits(self) -> memory.Digits:
        """The digit of every training clip."""
        return memory.digits_of(map(grey, self.train_videos))

    @functools.cached_property
    def unseen_distances(self) -> NDArray[np.float32]:
        """How far the digits of the held-out clips are from the nearest of training."""
        return memory.nearest(memory.digits_of(map(grey, self.videos)), self.train_digits)


class _Videos(Sequence[Video]):
    """The clips of a split, each read when it is asked for."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    @overload
    def __getitem__(self, number: int) -> Video: ...
    @overload
    def __getitem__(self, number: slice) -> list[Video]: ...
    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self._split[number].frames.data
