"""Classify a whole clip: its digit and its first direction, by a small network trained on real clips.

The input is the same for every clip: eight frames, evenly spaced from first to last, resized to 32x32. The features before the
two output layers are the space in which sets of clips are compared. ``python -m t2vdata.scoring.train_clip_classifier`` trains
the weights in clip_classifier.safetensors. Tensors carry their shape: N clips, T frames, H rows, W columns, F features.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from t2vdata.scoring.grammar import DIRECTIONS, Meaning
from t2vdata.scoring.motion import Video
from t2vdata.scoring.weights import load_weights

NUM_FRAMES, SIDE, NUM_FEATURES = 8, 32, 64
_BATCH_SIZE = 256


class ClipNetwork(nn.Module):
    """Maps clips (N, 1, 8, 32, 32) float, 0 to 1, to features (N, 64) and to logits of digits (N, 10) and directions (N, 4).

    2-D convolutions reduce each frame to 4x4, then a 1-D convolution runs along time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48)
        self.along, self.norm4 = nn.Conv1d(48 * 16, 64, 3, 2, 1, bias=False), nn.BatchNorm1d(64)
        self.drop = nn.Dropout(0.1)
        self.narrow = nn.Linear(64 * NUM_FRAMES // 2, NUM_FEATURES)
        self.digits, self.directions = nn.Linear(NUM_FEATURES, 10), nn.Linear(NUM_FEATURES, len(DIRECTIONS))

    def features(self, clips_N1THW: torch.Tensor) -> torch.Tensor:
        num_clips = len(clips_N1THW)
        frames = clips_N1THW.reshape(num_clips * NUM_FRAMES, 1, SIDE, SIDE)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)):
            frames = functional.relu(norm(conv(frames)))
        sequence = frames.reshape(num_clips, NUM_FRAMES, -1).transpose(1, 2)
        sequence = functional.relu(self.norm4(self.along(sequence)))
        return functional.relu(self.narrow(self.drop(sequence.flatten(1))))

    def forward(self, clips_N1THW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(clips_N1THW)
        return self.digits(features), self.directions(features)


@dataclass(frozen=True)
class Predictions:
    """The outputs of a network for N clips."""

    features: NDArray[np.float64]
    """(N, 64)"""
    digits: NDArray[np.float64]
    """Probabilities (N, 10)."""
    directions: NDArray[np.float64]
    """Probabilities (N, 4), in the order of grammar.DIRECTIONS."""

    @property
    def joint(self) -> NDArray[np.float64]:
        """Return the joint probabilities (N, 40) of digit and direction, as if the two were independent."""
        return (self.digits[:, :, None] * self.directions[:, None]).reshape(len(self.digits), -1)

    def num_correct(self, meanings: Sequence[Meaning]) -> int:
        """Return the number of clips whose digit and first direction are both as in ``meanings``."""
        rows = zip(self.digits.argmax(axis=1), self.directions.argmax(axis=1), meanings, strict=True)
        return sum(digit == meaning.digit and DIRECTIONS[way] == meaning.direction for digit, way, meaning in rows)


def inputs(videos: Iterable[Video]) -> torch.Tensor:
    """Return clips (T, H, W) uint8, of any lengths and sizes, as input of the network: (N, 1, 8, 32, 32) uint8."""
    clips = [torch.zeros(0, NUM_FRAMES, SIDE, SIDE, dtype=torch.uint8)]
    for video in videos:
        indices = np.round(np.linspace(0, len(video) - 1, NUM_FRAMES)).astype(int)
        frames = torch.from_numpy(np.array(video[indices])).float().unsqueeze(1)
        if frames.shape[2:] != (SIDE, SIDE):
            frames = functional.interpolate(frames, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        clips.append(frames.round().clamp(0, 255).byte().view(1, NUM_FRAMES, SIDE, SIDE))
    return torch.cat(clips).unsqueeze(1)


@functools.cache
def network() -> ClipNetwork:
    """Return the trained network that comes with the package."""
    return load_weights(ClipNetwork(), "clip_classifier.safetensors")


def predict(clips_N1THW: torch.Tensor, model: ClipNetwork | None = None) -> Predictions:
    """Run clips, as ``inputs`` makes them, through ``model``; default: the network that comes with the package."""
    model = model or network()
    batches: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode():
        for first in range(0, len(clips_N1THW), _BATCH_SIZE):
            features = model.features(clips_N1THW[first : first + _BATCH_SIZE].float() / 255)
            batches.append((features, model.digits(features).softmax(dim=1), model.directions(features).softmax(dim=1)))
    return Predictions(*(torch.cat(parts).double().numpy() for parts in zip(*batches, strict=True)))
