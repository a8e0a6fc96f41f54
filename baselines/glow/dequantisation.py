"""Likelihoods of discrete pixels from a continuous density: quantisation levels, dequantisation noise, bits per dimension.

A pixel is one of 2**n levels. Level k with noise u in [0, 1) becomes (k + u) / 2**n - 1/2, in a box of side 2**-n. A density p
gives an image the probability of its box, whose logarithm is at least E[log p] - n log(2) D - E[log q(u)] for D dimensions and
noise of density q in units of levels (Theis et al., arXiv:1511.01844; Ho et al., arXiv:1902.00275). Equality holds if p / q is
constant.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from baselines.glow.flow import FlowSpec, FlowStep, log_normal
from baselines.glow.layers import squeeze, unsqueeze


def to_levels(pixels: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return uint8 pixels as float32 levels from 0 to 2**num_bits - 1, rounded down."""
    levels: torch.Tensor = pixels >> (8 - num_bits)
    return levels.float()


def to_pixels(x: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return values in [-1/2, 1/2) as uint8 pixels, rounded down to the first pixel of their level."""
    pixels: torch.Tensor = quantized(x, num_bits).to(torch.uint8) << (8 - num_bits)
    return pixels


def quantized(x: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Return the levels of values in [-1/2, 1/2); values outside become the nearest level, NaN becomes 0."""
    levels = ((x + 0.5) * (1 << num_bits)).nan_to_num(0.0).floor()
    return levels.clamp(0, (1 << num_bits) - 1)


def dequantized(levels: torch.Tensor, noise: torch.Tensor | float, num_bits: int) -> torch.Tensor:
    """Return levels with noise in [0, 1) as values in [-1/2, 1/2)."""
    return (levels + noise) / (1 << num_bits) - 0.5


def log_probability(log_density_N: torch.Tensor, num_dimensions: int, num_bits: int) -> torch.Tensor:
    """Return log-probabilities of levels, in nats, from log-densities of their dequantized values."""
    return log_density_N - num_bits * math.log(2) * num_dimensions


def bits_per_dimension(nats: torch.Tensor | float, num_dimensions: int) -> torch.Tensor | float:
    """Return negative log-probabilities in bits per dimension; an RGB pixel has three dimensions, a grey one has one."""
    return nats / (math.log(2) * num_dimensions)


def identity_bits(x: torch.Tensor, num_bits: int) -> float:
    """Return the bits per dimension of values under N(0, 1): those of a flow that is a rotation, such as a new one.

    num_bits + log2(2 pi)/2 + E[x^2]/(2 ln 2): 9.3257 + 0.7213 E[x^2] for 8 bits.
    """
    return num_bits + math.log2(2 * math.pi) / 2 + float(x.square().mean()) / (2 * math.log(2))


class VariationalNoise(nn.Module):
    """Noise in [0, 1) for an image's levels, made by a small conditional flow (Flow++, arXiv:1902.00275, section 3.1)."""

    def __init__(self, num_channels: int, *, steps: int = 2, width: int = 32) -> None:
        super().__init__()
        spec = FlowSpec(coupling="affine", width=width, levels=1, steps=steps)
        self.features = nn.Conv2d(4 * num_channels, width, 3, padding=1)
        self.steps = nn.ModuleList(FlowStep(4 * num_channels, spec, context_channels=width) for _ in range(steps))

    def forward(self, x_NCHW: torch.Tensor, normal_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return noise (N, C, H, W) for dequantized images, from standard normal numbers, and its log-density (N,)."""
        context_NKHW = functional.relu(self.features(squeeze(x_NCHW)))
        noise_NCHW, log_density_N = squeeze(normal_NCHW), log_normal(normal_NCHW)
        for step in self.steps:
            noise_NCHW, logdet_N = step(noise_NCHW, context_NKHW)
            log_density_N = log_density_N - logdet_N
        noise_NCHW = unsqueeze(noise_NCHW)
        # The log-derivative of the sigmoid, in a form that does not underflow.
        log_slope_NCHW = functional.logsigmoid(noise_NCHW) + functional.logsigmoid(-noise_NCHW)
        return torch.sigmoid(noise_NCHW), log_density_N - log_slope_NCHW.flatten(1).sum(dim=1)
