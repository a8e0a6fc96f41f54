"""Likelihoods of whole numbers from a density: levels, the noise that fills them, and bits per dimension.

A pixel is one of 2**n levels. Level k with noise u in [0, 1) lies at (k + u) / 2**n - 1/2, in a box of side 2**-n. A density p
gives an image the probability of its box, whose logarithm is at least E[log p] - n log(2) D - E[log q(u)] for noise of density
q in units of levels (Theis et al., arXiv:1511.01844; Ho et al., arXiv:1902.00275). Equality holds where p / q is constant.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from baselines.glow.flow import FlowSpec, FlowStep, log_normal
from baselines.glow.layers import squeeze, unsqueeze


def levels_of(pixels: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return pixels, uint8, as float32 levels from 0 to 2**num_bits - 1, rounded down."""
    levels: torch.Tensor = pixels >> (8 - num_bits)
    return levels.float()


def pixels_of(x: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return places in [-1/2, 1/2) as uint8 pixels, rounded down to the first pixel of their level."""
    levels = at_level(x, num_bits).clamp(0, (1 << num_bits) - 1)
    pixels: torch.Tensor = levels.to(torch.uint8) << (8 - num_bits)
    return pixels


def at_level(x: torch.Tensor, num_bits: int) -> torch.Tensor:
    return ((x + 0.5) * (1 << num_bits)).nan_to_num(0.0).floor()


def place(levels: torch.Tensor, noise: torch.Tensor | float, num_bits: int) -> torch.Tensor:
    """Return where levels lie in [-1/2, 1/2) with noise in [0, 1)."""
    return (levels + noise) / (1 << num_bits) - 0.5


def log_probability(log_density: torch.Tensor, num_dimensions: int, num_bits: int) -> torch.Tensor:
    """Return log-probabilities of levels, in nats, from log-densities at ``place``."""
    return log_density - num_bits * math.log(2) * num_dimensions


def bits_per_dimension(nats: torch.Tensor | float, num_dimensions: int) -> torch.Tensor | float:
    """Return negative log-probabilities in bits per dimension; an RGB pixel has three dimensions, a grey one has one."""
    return nats / (math.log(2) * num_dimensions)


def identity_bits(x: torch.Tensor, num_bits: int) -> float:
    """Return the bits per dimension that N(0, 1) itself gives places ``x``: of a flow that is a rotation, so of a new one.

    num_bits + log2(2 pi)/2 + E[x^2]/(2 ln 2): 9.3257 + 0.7213 E[x^2] for 8 bits.
    """
    return num_bits + math.log2(2 * math.pi) / 2 + float(x.square().mean()) / (2 * math.log(2))


class VariationalNoise(nn.Module):
    """Noise in [0, 1) that a small conditional flow makes for an image's levels (Flow++, arXiv:1902.00275, section 3.1)."""

    def __init__(self, channels: int, *, steps: int = 2, width: int = 32) -> None:
        super().__init__()
        spec = FlowSpec(coupling="affine", width=width, levels=1, steps=steps)
        self.features = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.steps = nn.ModuleList(FlowStep(4 * channels, spec, context=width) for _ in range(steps))

    def forward(self, x: torch.Tensor, normal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return noise for images at ``place`` (N, C, H, W), from N(0, 1) of the same shape, and its log-density (N,)."""
        context = functional.relu(self.features(squeeze(x)))
        noise, log_density = squeeze(normal), log_normal(normal)
        for step in self.steps:
            noise, gain = step(noise, context)
            log_density = log_density - gain
        noise = unsqueeze(noise)
        # The derivative of the sigmoid, in a form that does not underflow.
        slope = functional.logsigmoid(noise) + functional.logsigmoid(-noise)
        return torch.sigmoid(noise), log_density - slope.flatten(1).sum(dim=1)
