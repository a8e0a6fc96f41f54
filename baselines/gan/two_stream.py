"""VGAN's generator: a moving foreground over a still background (Vondrick et al. 2016, arXiv:1609.02612, section 2.2).

B clips, N noise features, S sentence features, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from baselines.gan.blocks import Generated, Latent, Shape, Trunk, initialise, last_layer
from baselines.gan.spec import ModelSpec


class StreamsGenerator(nn.Module):
    """Foreground f and mask m from 3-D layers, background b from 2-D layers: m * f + (1 - m) * b."""

    def __init__(self, spec: ModelSpec, shape: Shape, text_size: int) -> None:
        super().__init__()
        channels, frames, height, width = shape
        self.latent = Latent(spec, text_size)
        size, condition = self.latent.size, self.latent.size
        self.foreground = Trunk(spec, size, (frames, height, width), condition_size=condition, bias=True)
        self.pixels = last_layer(self.foreground, spec, channels, bias=True)
        self.mask = last_layer(self.foreground, spec, 1, bias=True)
        self.background = Trunk(spec, size, (height, width), condition_size=condition, bias=True)
        self.still = last_layer(self.background, spec, channels, bias=True)
        initialise(self, spec, generates=True)

    def forward(self, noise_BN: torch.Tensor, text_BS: torch.Tensor | None) -> Generated:
        latent_BN = self.latent(noise_BN, text_BS)
        moving = self.foreground(latent_BN, latent_BN)
        mask_B1THW = torch.sigmoid(self.mask(moving))
        still_BC1HW = torch.tanh(self.still(self.background(latent_BN, latent_BN))).unsqueeze(2)
        return Generated(mask_B1THW * torch.tanh(self.pixels(moving)) + (1 - mask_B1THW) * still_BC1HW, mask_B1THW)
