"""Classify the digit in a frame, by a small network trained on MNIST's training images.

A frame is cropped to a square around the bright pixels, 1.2 times as wide as their bounding box and centred on their centre of
mass, and resized to 24x24: MNIST's own normalisation without its border, whatever the size of digit and frame. The last of the
eleven classes is "no digit": blank, noise, two digits. ``python -m t2vdata.scoring.train_digit_classifier`` trains the weights
in digit_classifier.safetensors. Tensors carry their shape: N frames, H rows, W columns.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from t2vdata.scoring.motion import BrightRegions, Video, find_bright_regions
from t2vdata.scoring.weights import load_weights

NO_DIGIT = 10
SIDE = 24
_MARGIN = 1.2
# Least probability of "no digit": with a lower one, strokes that do not touch count as two digits.
_MIN_NO_DIGIT = 0.8
_BATCH_SIZE = 4096


class DigitNetwork(nn.Module):
    """Maps crops (N, 1, 24, 24) float, 0 to 1, to features (N, 64) and logits of the eleven classes (N, 11)."""

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
        eighth = functional.relu(self.norm3(self.conv3(quarter))).flatten(1)
        return functional.relu(self.narrow(self.drop(eighth)))

    def forward(self, crops_N1HW: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classes(self.features(crops_N1HW))
        return logits


def crops(frames: Video, regions: BrightRegions | None = None) -> torch.Tensor:
    """Return the digits of frames (N, H, W) uint8 as (N, 1, 24, 24) float, 0 to 1; black beyond the frame.

    ``regions`` is the result of ``find_bright_regions(frames)``, if it is known already.
    """
    num_frames, height, width = frames.shape
    regions = regions or find_bright_regions(frames)
    side = _MARGIN * np.maximum(regions.bottom - regions.top, regions.right - regions.left)
    # affine_grid counts from -1 to 1, edge to edge.
    grid = torch.zeros(num_frames, 2, 3)
    grid[:, 0, 0], grid[:, 0, 2] = torch.from_numpy(side / width), torch.from_numpy(2 * regions.column / width - 1)
    grid[:, 1, 1], grid[:, 1, 2] = torch.from_numpy(side / height), torch.from_numpy(2 * regions.row / height - 1)
    pixels = torch.from_numpy(np.array(frames)).unsqueeze(1).float() / 255
    positions_NHW2 = functional.affine_grid(grid, [num_frames, 1, SIDE, SIDE], align_corners=False)
    return functional.grid_sample(pixels, positions_NHW2, align_corners=False)


@functools.cache
def network() -> DigitNetwork:
    """Return the trained network that comes with the package."""
    return load_weights(DigitNetwork(), "digit_classifier.safetensors")


def classify(frames: Video) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the class of each frame (N, H, W) uint8, (N,) with NO_DIGIT for none, and its features (N, 64)."""
    classes, features = [np.zeros(0, np.int64)], [np.zeros((0, 64), np.float32)]
    with torch.inference_mode():
        for first in range(0, len(frames), _BATCH_SIZE):
            batch = frames[first : first + _BATCH_SIZE]
            regions = find_bright_regions(batch)
            batch_features = network().features(crops(batch, regions))
            probabilities = network().classes(batch_features).softmax(dim=1)
            batch_classes = probabilities[:, :NO_DIGIT].argmax(dim=1).numpy()
            batch_classes[regions.is_blank | (probabilities[:, NO_DIGIT] >= _MIN_NO_DIGIT).numpy()] = NO_DIGIT
            classes.append(batch_classes)
            features.append(batch_features.numpy())
    return np.concatenate(classes), np.concatenate(features)
