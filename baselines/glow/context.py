"""What a frame's flow may know beside the frame: features at the size of each level, and a state of all frames before.

Sizes and order as in the code of arXiv:1910.11106 (djd1283/glowvideogen). N images, K channels of context, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from baselines.glow.layers import ActNorm, squeeze


class Pyramid(nn.Module):
    """An image of context (N, K, H, W) to features (N, 4K, H/2, W/2), (N, 4K, H/4, W/4) ..., one for each level of a flow.

    Squeezed once; then for each further level a 3x3 convolution of dilation 2 from 4K to K channels, a squeeze, a ReLU.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(4 * channels, channels, 3, padding=2, dilation=2) for _ in range(levels - 1)
        )

    def forward(self, context_NKHW: torch.Tensor) -> list[torch.Tensor]:
        features = [squeeze(context_NKHW)]
        for convolution in self.convolutions:
            features.append(functional.relu(squeeze(convolution(features[-1]))))
        return features


class ContextProcessor(nn.Module):
    """Carries a state from frame to frame: state and frame, two 3x3 convolutions, added to the state, normalised.

    The norms are set by the first batch and stay, one for each frame that is remembered. Clips longer than those of training
    use the last norm again.
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

    def forward(self, state: torch.Tensor, frame_NCHW: torch.Tensor, number: int) -> torch.Tensor:
        """Return the state (N, S, H, W) after frame ``number`` of the clip."""
        hidden = functional.relu(self.first(torch.cat([frame_NCHW, state], dim=1)))
        norm = self.norms[min(number, len(self.norms) - 1)]
        carried: torch.Tensor = norm(state + self.second(hidden))[0]
        return carried

    def states(self, frames_NTCHW: torch.Tensor) -> torch.Tensor:
        """Return the state after each frame: (N, T, S, H, W)."""
        state, found = self.start(frames_NTCHW[:, 0]), []
        for number in range(frames_NTCHW.shape[1]):
            state = self(state, frames_NTCHW[:, number], number)
            found.append(state)
        return torch.stack(found, dim=1)
