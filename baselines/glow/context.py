"""The context of a frame's flow: features of an image at the size of each level, and a state carried over earlier frames.

Sizes and order follow the code of arXiv:1910.11106 (djd1283/glowvideogen).

Shapes: N images, T frames, C channels, K channels of context, S channels of the state, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from baselines.glow.layers import ActNorm, squeeze


class Pyramid(nn.Module):
    """An image of context (N, K, H, W) to features (N, 4K, H/2, W/2), (N, 4K, H/4, W/4) ..., one for each level of a flow.

    The image is squeezed; each further level is a 3x3 convolution of dilation 2 from 4K to K channels, a squeeze and a ReLU.
    """

    def __init__(self, num_channels: int, num_levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(4 * num_channels, num_channels, 3, padding=2, dilation=2) for _ in range(num_levels - 1)
        )

    def forward(self, context_NKHW: torch.Tensor) -> list[torch.Tensor]:
        features = [squeeze(context_NKHW)]
        for convolution in self.convolutions:
            features.append(functional.relu(squeeze(convolution(features[-1]))))
        return features


class ContextProcessor(nn.Module):
    """Update a state from frame to frame: two 3x3 convolutions of state and frame, added to the state, normalised.

    Each frame position has its own norm, fixed by the first batch. Frames beyond the training length use the last norm.
    """

    def __init__(self, frame_channels: int, state_channels: int = 16, num_frames: int = 29) -> None:
        super().__init__()
        self.state_channels = state_channels
        self.first = nn.Conv2d(frame_channels + state_channels, 2 * state_channels, 3, padding=1)
        self.second = nn.Conv2d(2 * state_channels, state_channels, 3, padding=1)
        self.norms = nn.ModuleList(ActNorm(state_channels, is_learned=False) for _ in range(num_frames))

    def start(self, frame_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the state before any frame: zeros (N, S, H, W)."""
        return frame_NCHW.new_zeros(len(frame_NCHW), self.state_channels, *frame_NCHW.shape[2:])

    def forward(self, state_NSHW: torch.Tensor, frame_NCHW: torch.Tensor, index: int) -> torch.Tensor:
        """Return the state (N, S, H, W) after the frame at ``index`` of the clip."""
        hidden_NCHW = functional.relu(self.first(torch.cat([frame_NCHW, state_NSHW], dim=1)))
        norm = self.norms[min(index, len(self.norms) - 1)]
        updated_NSHW: torch.Tensor = norm(state_NSHW + self.second(hidden_NCHW))[0]
        return updated_NSHW

    def states(self, frames_NTCHW: torch.Tensor) -> torch.Tensor:
        """Return the state after each frame: (N, T, S, H, W)."""
        state_NSHW, states = self.start(frames_NTCHW[:, 0]), []
        for index in range(frames_NTCHW.shape[1]):
            state_NSHW = self(state_NSHW, frames_NTCHW[:, index], index)
            states.append(state_NSHW)
        return torch.stack(states, dim=1)
