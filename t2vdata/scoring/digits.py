"""Which digit a frame shows, told by a small network that was trained here, on handwriting of MNIST's training images.

A frame is cut to a square around the bright pixels, 1.2 times as wide as their box, with their centre of mass in its middle,
and brought to 24x24: MNIST's own norm less its rim, whatever the size of digit and frame. Of eleven classes the last is no
digit: blank, noise, two digits. The weights are in digits.safetensors; ``python -m t2vdata.scoring.train`` makes them.
Tensors carry their shape: N frames, H rows, W columns.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn
from torch.nn import functional

from t2vdata.scoring.motion import Places, Video, places

NO_DIGIT = 10
SIDE = 24
_MARGIN = 1.2
# A probability: for "no digit" the network has to be sure, or strokes that do not touch would be taken for two digits.
_SURE = 0.8
_WEIGHTS = "digits.safetensors"
_AT_ONCE = 4096


class DigitNetwork(nn.Module):
    """(N, 1, 24, 24) float, 0 to 1, to features (N, 64) and scores of the eleven classes (N, 11)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 32, 5, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64)
        self.conv3, self.norm3 = nn.Conv2d(64, 128, 3, bias=False), nn.BatchNorm2d(128)
        self.drop = nn.Dropout(0.3)
        self.narrow, self.classes = nn.Linear(128 * 4, 64), nn.Linear(64, NO_DIGIT + 1)

    def features(self, crops_N1HW: torch.Tensor) -> torch.Tensor:
        half = functional.relu(self.norm1(functional.max_pool2d(self.conv1(crops_N1HW), 2)))
        quarter = functional.relu(self.norm2(functional.max_pool2d(self.conv2(half), 2)))
        seen = functional.relu(self.norm3(self.conv3(quarter))).flatten(1)
        return functional.relu(self.narrow(self.drop(seen)))

    def forward(self, crops_N1HW: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.classes(self.features(crops_N1HW))
        return found


def crops(frames: Video, where: Places | None = None) -> torch.Tensor:
    """Return the digits of frames (N, H, W) uint8 as (N, 1, 24, 24) float, 0 to 1; what is beyond the frame is black.

    ``where`` is what ``places`` says of the frames, if it is known.
    """
    num_frames, height, width = frames.shape
    where = where or places(frames)
    side = _MARGIN * np.maximum(where.bottom - where.top, where.right - where.left)
    # Of affine_grid, which counts from -1 to 1 from edge to edge.
    grid = torch.zeros(num_frames, 2, 3)
    grid[:, 0, 0], grid[:, 0, 2] = torch.from_numpy(side / width), torch.from_numpy(2 * where.column / width - 1)
    grid[:, 1, 1], grid[:, 1, 2] = torch.from_numpy(side / height), torch.from_numpy(2 * where.row / height - 1)
    pixels = torch.from_numpy(np.array(frames)).unsqueeze(1).float() / 255
    places_NHW2 = functional.affine_grid(grid, [num_frames, 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(pixels, places_NHW2, align_corners=False)


@functools.cache
def network() -> DigitNetwork:
    """Return the trained network that comes with the package."""
    made = DigitNetwork().eval()
    data = resources.files("t2vdata.scoring").joinpath(_WEIGHTS).read_bytes()
    made.load_state_dict({name: array.float() for name, array in load(data).items()})
    return made


def look(frames: Video) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the class (N,) of each frame (N, H, W) uint8, NO_DIGIT for none, and its features (N, 64)."""
    classes, features = [np.zeros(0, np.int64)], [np.zeros((0, 64), np.float32)]
    with torch.inference_mode():
        for first in range(0, len(frames), _AT_ONCE):
            some = frames[first : first + _AT_ONCE]
            where = places(some)
            seen = network().features(crops(some, where))
            probabilities = network().classes(seen).softmax(dim=1)
            told = probabilities[:, :NO_DIGIT].argmax(dim=1).numpy()
            told[where.is_blank | (probabilities[:, NO_DIGIT] >= _SURE).numpy()] = NO_DIGIT
            classes.append(told)
            features.append(seen.numpy())
    return np.concatenate(classes), np.concatenate(features)
