"""Motion as in video codecs: one displacement of the whole frame, and the bits that it costs.

A later frame is at least as probable as a displacement, given all that came before, times the frame given the displaced
previous frame. This holds for any displacement, including the one that fits best, so no average over all of them is needed.

Shapes: N frames, C channels, H rows, W columns; K channels of context; V numbers in a vector; D displacements.
"""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional


@functools.cache
def displacements(reach: int) -> list[tuple[int, int]]:
    """Return all displacements of up to ``reach`` pixels (down, right), shortest first; the first is (0, 0)."""
    pixels = range(-reach, reach + 1)
    return sorted(((down, right) for down in pixels for right in pixels), key=lambda move: (move[0] ** 2 + move[1] ** 2, move))


def displaced(frames_NCHW: torch.Tensor, displacement_N: torch.Tensor, reach: int) -> torch.Tensor:
    """Return frames of levels, each moved by its displacement (an index), (N, C, H, W); uncovered pixels are black."""
    height, width = frames_NCHW.shape[2:]
    device = frames_NCHW.device
    moves_N2 = torch.tensor(displacements(reach), device=device)[displacement_N]
    rows_NH = torch.arange(height, device=device) + reach - moves_N2[:, :1]
    columns_NW = torch.arange(width, device=device) + reach - moves_N2[:, 1:]
    padded = functional.pad(frames_NCHW, [reach] * 4)
    frame_N11 = torch.arange(len(frames_NCHW), device=device)[:, None, None]
    # Indices on both sides of a slice put its axis last.
    return padded[frame_N11, :, rows_NH[:, :, None], columns_NW[:, None, :]].permute(0, 3, 1, 2)


def best_displacement(previous_NCHW: torch.Tensor, frames_NCHW: torch.Tensor, reach: int) -> torch.Tensor:
    """Return the displacement (N,) that brings the previous frame nearest to each frame: the shortest among equals."""
    height, width = frames_NCHW.shape[2:]
    padded = functional.pad(previous_NCHW, [reach] * 4)
    errors = [
        (padded[:, :, reach - down : reach - down + height, reach - right : reach - right + width] - frames_NCHW)
        .abs().flatten(1).sum(dim=1)
        for down, right in displacements(reach)
    ]  # fmt: skip
    return torch.stack(errors, dim=1).argmin(dim=1)


class Motion(nn.Module):
    """The probability of each displacement, given the context of a frame."""

    def __init__(self, context_channels: int, *, reach: int, width: int = 32, vector_size: int = 0) -> None:
        super().__init__()
        self.reach = reach
        self.first = nn.Conv2d(context_channels, width, 4, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.gathered = nn.Linear(width * 16, width)
        # The layer of the vector; its name is part of the checkpoint format.
        self.told = nn.Linear(vector_size, width) if vector_size else None
        self.last = nn.Linear(width, len(displacements(reach)))

    def forward(self, context_NKHW: torch.Tensor, vector_NV: torch.Tensor | None) -> torch.Tensor:
        """Return log-probabilities (N, D)."""
        hidden_NCHW = functional.relu(self.second(functional.relu(self.first(context_NKHW))))
        hidden_NC = self.gathered(functional.adaptive_avg_pool2d(hidden_NCHW, 4).flatten(1))
        if self.told is not None and vector_NV is not None:
            hidden_NC = hidden_NC + self.told(vector_NV)
        log_probabilities_ND: torch.Tensor = self.last(functional.relu(hidden_NC)).float().log_softmax(dim=1)
        return log_probabilities_ND


def sample_displacement(log_probabilities_ND: torch.Tensor, uniform_N: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return displacements (N,) drawn with uniform numbers; at temperature 0 the most probable ones.

    Scaling the deviation of a normal distribution by T raises its density to 1/T^2; the same is done to these probabilities.
    """
    if not temperature:
        return log_probabilities_ND.argmax(dim=1)
    cumulative_ND = (log_probabilities_ND.double() / temperature**2).softmax(dim=1).cumsum(dim=1)
    return (cumulative_ND < uniform_N[:, None]).sum(dim=1).clamp(max=cumulative_ND.shape[1] - 1)
