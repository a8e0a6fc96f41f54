"""Where a frame has moved to, as video codecs say it: one displacement of the whole frame, and what it costs to name it.

A later frame is at least as probable as a displacement, given all that is known, times the frame given the one before, so
displaced. This holds for any displacement, also for the one that fits best; so no mean over all of them has to be taken.

N frames, C channels, H rows, W columns; K channels of context, V numbers in a vector, D displacements.
"""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional


@functools.cache
def displacements(reach: int) -> list[tuple[int, int]]:
    """Return all of up to ``reach`` pixels down and to the right, near ones first: the first one is none."""
    along = range(-reach, reach + 1)
    return sorted(((down, right) for down in along for right in along), key=lambda one: (one[0] ** 2 + one[1] ** 2, one))


def displaced(frames_NCHW: torch.Tensor, numbers_N: torch.Tensor, reach: int) -> torch.Tensor:
    """Return frames of levels, each at the displacement of its number, (N, C, H, W); what comes in is black."""
    height, width = frames_NCHW.shape[2:]
    device = frames_NCHW.device
    moves = torch.tensor(displacements(reach), device=device)[numbers_N]
    rows = torch.arange(height, device=device) + reach - moves[:, :1]
    columns = torch.arange(width, device=device) + reach - moves[:, 1:]
    around = functional.pad(frames_NCHW, [reach] * 4)
    each = torch.arange(len(frames_NCHW), device=device)[:, None, None]
    # Indices beside a slice put its axis last.
    return around[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def nearest(before_NCHW: torch.Tensor, frames_NCHW: torch.Tensor, reach: int) -> torch.Tensor:
    """Return by which displacement the frame before comes nearest to each frame, (N,): of equally near ones the shortest."""
    height, width = frames_NCHW.shape[2:]
    around = functional.pad(before_NCHW, [reach] * 4)
    errors = [
        (around[:, :, reach - down : reach - down + height, reach - right : reach - right + width] - frames_NCHW)
        .abs().flatten(1).sum(dim=1)
        for down, right in displacements(reach)
    ]  # fmt: skip
    return torch.stack(errors, dim=1).argmin(dim=1)


class Motion(nn.Module):
    """How probable each displacement is, by what is known of a frame."""

    def __init__(self, context: int, *, reach: int, width: int = 32, vector: int = 0) -> None:
        super().__init__()
        self.reach = reach
        self.first = nn.Conv2d(context, width, 4, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.gathered = nn.Linear(width * 16, width)
        self.told = nn.Linear(vector, width) if vector else None
        self.last = nn.Linear(width, len(displacements(reach)))

    def forward(self, context_NKHW: torch.Tensor, vector_NV: torch.Tensor | None) -> torch.Tensor:
        """Return log-probabilities (N, D)."""
        hidden = functional.relu(self.second(functional.relu(self.first(context_NKHW))))
        hidden = self.gathered(functional.adaptive_avg_pool2d(hidden, 4).flatten(1))
        if self.told is not None and vector_NV is not None:
            hidden = hidden + self.told(vector_NV)
        log_probabilities: torch.Tensor = self.last(functional.relu(hidden)).float().log_softmax(dim=1)
        return log_probabilities


def drawn(log_probabilities_ND: torch.Tensor, uniform_N: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return displacements (N,) by uniform numbers: at temperature 0 the most probable ones.

    A normal distribution whose deviation is scaled by T has its density raised to 1/T^2, and so have these.
    """
    if not temperature:
        return log_probabilities_ND.argmax(dim=1)
    chances = (log_probabilities_ND.double() / temperature**2).softmax(dim=1).cumsum(dim=1)
    return (chances < uniform_N[:, None]).sum(dim=1).clamp(max=chances.shape[1] - 1)
