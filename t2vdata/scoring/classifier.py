"""What a whole clip shows, told by a small network that was trained here on real clips: its digit, and where it goes first.

It sees every clip alike: eight frames, evenly from the first to the last, each brought to 32x32. The features before its two
answers are where sets of clips are compared. The weights are in classifier.safetensors; ``python -m
t2vdata.scoring.train_classifier`` makes them. Tensors carry their shape: N clips, T frames, H rows, W columns, F features.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn
from torch.nn import functional

from t2vdata.scoring.grammar import DIRECTIONS, Meaning
from t2vdata.scoring.motion import Video

NUM_FRAMES, SIDE, NUM_FEATURES = 8, 32, 64
_WEIGHTS = "classifier.safetensors"
_AT_ONCE = 256


class ClipNetwork(nn.Module):
    """(N, 1, 8, 32, 32) float, 0 to 1, to features (N, 64), and from these to scores of digits (N, 10) and directions (N, 4).

    Frames are looked at one by one, down to 4x4 places, and then along time.
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
        whole = frames.reshape(num_clips, NUM_FRAMES, -1).transpose(1, 2)
        whole = functional.relu(self.norm4(self.along(whole)))
        return functional.relu(self.narrow(self.drop(whole.flatten(1))))

    def forward(self, clips_N1THW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(clips_N1THW)
        return self.digits(features), self.directions(features)


@dataclass(frozen=True)
class Watched:
    """What a network says of N clips."""

    features: NDArray[np.float64]
    """(N, 64)"""
    digits: NDArray[np.float64]
    """Probabilities (N, 10)."""
    directions: NDArray[np.float64]
    """Probabilities (N, 4), in the order of grammar.DIRECTIONS."""

    @property
    def meanings(self) -> NDArray[np.float64]:
        """Return the probabilities (N, 40) of digit and direction together, as if the two were told apart."""
        return (self.digits[:, :, None] * self.directions[:, None]).reshape(len(self.digits), -1)

    def num_right(self, wanted: Sequence[Meaning]) -> int:
        """Return for how many clips digit and first direction are both as wanted."""
        pairs = zip(self.digits.argmax(axis=1), self.directions.argmax(axis=1), wanted, strict=True)
        return sum(digit == one.digit and DIRECTIONS[way] == one.direction for digit, way, one in pairs)


def inputs(videos: Iterable[Video]) -> torch.Tensor:
    """Return clips (T, H, W) uint8, of any lengths and sizes, as the network sees them: (N, 1, 8, 32, 32) uint8."""
    made = [torch.zeros(0, NUM_FRAMES, SIDE, SIDE, dtype=torch.uint8)]
    for video in videos:
        chosen = np.round(np.linspace(0, len(video) - 1, NUM_FRAMES)).astype(int)
        frames = torch.from_numpy(np.array(video[chosen])).float().unsqueeze(1)
        if frames.shape[2:] != (SIDE, SIDE):
            frames = functional.interpolate(frames, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        made.append(frames.round().clamp(0, 255).byte().view(1, NUM_FRAMES, SIDE, SIDE))
    return torch.cat(made).unsqueeze(1)


@functools.cache
def network() -> ClipNetwork:
    """Return the trained network that comes with the package."""
    made = ClipNetwork().eval()
    data = resources.files("t2vdata.scoring").joinpath(_WEIGHTS).read_bytes()
    made.load_state_dict({name: array.float() for name, array in load(data).items()})
    return made


def watch(clips_N1THW: torch.Tensor, by: ClipNetwork | None = None) -> Watched:
    """Return what the package's network, or another, says of clips as ``inputs`` makes them."""
    by = by or network()
    told: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode():
        for first in range(0, len(clips_N1THW), _AT_ONCE):
            features = by.features(clips_N1THW[first : first + _AT_ONCE].float() / 255)
            told.append((features, by.digits(features).softmax(dim=1), by.directions(features).softmax(dim=1)))
    return Watched(*(torch.cat(parts).double().numpy() for parts in zip(*told, strict=True)))
