"""Glow: an invertible map from images to as many independent normal numbers (arXiv:1807.03039, figure 2).

At each level an image is squeezed, goes through K steps of ActNorm, 1x1 convolution and coupling, and half of its channels
leave as latents, normal around what the other half predicts. The whole is itself an invertible layer: ``forward`` returns the
latents, standardised, and the log-determinant, ``inverse`` the image.

N images, C channels, H rows, W columns; K channels of context at each level, V numbers in the vector that describes an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from baselines.glow.coupling import Coupling, CouplingSpec, Injector
from baselines.glow.layers import (
    ActNorm,
    Permutation,
    ZeroConvolution,
    at_least_float32,
    exact,
    spread,
    squeeze,
    unspread,
    unsqueeze,
)
from t2vdata.errors import RequestError, unknown_name

LOG_TWO_PI = math.log(2 * math.pi)

Context = Sequence[torch.Tensor] | None


@dataclass(frozen=True)
class FlowSpec(CouplingSpec):
    """The size and kind of a Glow, and of its coupling layers."""

    levels: int = 3
    """How often an image is squeezed; height and width must be multiples of 2 to this power."""
    steps: int = 32
    """Steps of flow at each level."""
    pixels: Literal["linear", "logit"] = "linear"
    """What the flow sees of a pixel: its place in [-1/2, 1/2), as in the papers, or the logit of its share of white, in which
    a constant background varies about as much as all else."""
    injector: bool = False
    """Whether each level begins with an affine layer that the context alone decides: what is certain from frames before
    comes off at once."""
    permutation: Literal["plain", "lu"] = "plain"
    """1x1 convolutions as plain matrices or by their LU decomposition, whose determinant costs nothing."""
    conditional_priors: bool = False
    """Whether the context also goes into the means and scales of the latents; in the paper only into coupling networks."""
    checkpoint: bool = False
    """Whether a step keeps nothing but its input for the gradient, and computes the rest again: less memory, more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1 or self.steps < 1:
            raise RequestError(f"a Glow of {self.levels} levels with {self.steps} steps each: expected 1 or more of both")
        for name, known in {"permutation": ("plain", "lu"), "pixels": ("linear", "logit")}.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)


class FlowStep(nn.Module):
    """ActNorm, 1x1 convolution, coupling: (N, C, H, W) to the same."""

    def __init__(self, channels: int, spec: FlowSpec, *, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        self.norm = ActNorm(channels)
        self.permutation = Permutation(channels, spec.permutation)
        self.coupling = Coupling(channels, spec, context=context, vector=vector)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, vector: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, of_norm = self.norm(x)
        x, of_permutation = self.permutation(x)
        x, of_coupling = self.coupling(x, context, vector)
        return x, of_norm + of_permutation + of_coupling

    def inverse(self, y: torch.Tensor, context: torch.Tensor | None = None, vector: torch.Tensor | None = None) -> torch.Tensor:
        y = self.coupling.inverse(y, context, vector)
        x: torch.Tensor = self.norm.inverse(self.permutation.inverse(y))
        return x


class Prior(nn.Module):
    """Mean and log-scale of latents, learned; N(0, 1) at the start.

    Predicted from the channels that stay, and at the top, where none do, from zeros: the borders and the bias remain.
    """

    def __init__(self, inputs: int, latents: int, spec: FlowSpec, *, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        known = context if spec.conditional_priors else 0
        borders: Literal["channel", "ones"] = "channel" if spec.form == "official" else "ones"
        self.convolution = ZeroConvolution(inputs + known, 2 * latents, borders)
        self.takes_context = bool(known)
        self.linear = nn.Linear(vector, 2 * latents) if vector else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    @exact
    def forward(
        self, kept: torch.Tensor, context: torch.Tensor | None, vector: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.takes_context and context is not None:
            kept = torch.cat([kept, context.to(kept.dtype)], dim=1)
        told = self.convolution(kept)
        if self.linear is not None and vector is not None:
            told = told + self.linear(vector.to(kept.dtype))[:, :, None, None]
        mean, logs = told.chunk(2, dim=1)
        return mean, logs


class Level(nn.Module):
    """Steps of flow on a squeezed image, and the prior of what leaves: half of its channels, at the last level all."""

    def __init__(self, channels: int, spec: FlowSpec, *, is_last: bool, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        self.is_last, self.checkpoint = is_last, spec.checkpoint
        self.injector = Injector(channels, spec, context=context, vector=vector) if spec.injector and context else None
        self.steps = nn.ModuleList(FlowStep(channels, spec, context=context, vector=vector) for _ in range(spec.steps))
        kept, latents = (channels, channels) if is_last else (channels // 2, channels // 2)
        # A vector shifts the top of the flow, as classes do in the official code.
        self.prior = Prior(kept, latents, spec, context=context, vector=vector if is_last else 0)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None, vector: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what goes to the next level, the standardised latents, and the log-determinant (N,)."""
        x, total = squeeze(x), x.new_zeros(len(x))
        if self.injector is not None and context is not None:
            x, total = self.injector(x, context, vector)
        for step in self.steps:
            if self.checkpoint and torch.is_grad_enabled():
                x, gain = checkpoint(step, x, context, vector, use_reentrant=False)
            else:
                x, gain = step(x, context, vector)
            total = total + gain
        kept, latents = (torch.zeros_like(x), x) if self.is_last else x.chunk(2, dim=1)
        mean, logs = self.prior(kept, context, vector)
        return kept, (latents - mean) * (-logs).exp(), total - logs.flatten(1).sum(dim=1)

    def inverse(
        self, kept: torch.Tensor, latents: torch.Tensor, context: torch.Tensor | None, vector: torch.Tensor | None
    ) -> torch.Tensor:
        mean, logs = self.prior(kept, context, vector)
        latents = latents * logs.exp() + mean
        x = latents if self.is_last else torch.cat([kept, latents], dim=1)
        for step in reversed(cast("list[FlowStep]", list(self.steps))):
            x = step.inverse(x, context, vector)
        if self.injector is not None and context is not None:
            x = self.injector.inverse(x, context, vector)
        return unsqueeze(x)


class Flow(nn.Module):
    """The whole Glow for images (N, C, H, W).

    ``context`` is a list of features (N, K, H/2, W/2), (N, K, H/4, W/4) ..., one for each level, such as ``context.Pyramid``
    makes; ``vector`` is (N, V).
    """

    def __init__(self, shape: tuple[int, int, int], spec: FlowSpec, *, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        channels, height, width = shape
        if height % 2**spec.levels or width % 2**spec.levels:
            raise RequestError(
                f"images of {height}x{width} cannot be halved {spec.levels} times; "
                f"expected multiples of {2**spec.levels}, or fewer levels"
            )
        self.shape, self.is_logit, levels = shape, spec.pixels == "logit", []
        for number in range(spec.levels):
            is_last = number == spec.levels - 1
            levels.append(Level(4 * channels, spec, is_last=is_last, context=context, vector=vector))
            channels *= 2
        self.levels = nn.ModuleList(levels)

    def forward(
        self, x: torch.Tensor, context: Context = None, vector: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the standardised latents of each level, coarse ones last, and the log-determinant (N,) of the whole."""
        x = at_least_float32(x)
        x, total = spread(x) if self.is_logit else (x, x.new_zeros(len(x)))
        found = []
        for number, level in enumerate(self.levels):
            x, latents, gain = level(x, None if context is None else context[number], vector)
            total = total + gain
            found.append(latents)
        return found, total

    def inverse(
        self, latents: Sequence[torch.Tensor], context: Context = None, vector: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the images (N, C, H, W) whose latents these are."""
        x = torch.zeros_like(latents[-1])
        for number, level in reversed(list(enumerate(cast("list[Level]", list(self.levels))))):
            x = level.inverse(x, latents[number], None if context is None else context[number], vector)
        return unspread(x) if self.is_logit else x

    def log_density(self, x: torch.Tensor, context: Context = None, vector: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logarithm of the density at images, in nats: (N,)."""
        latents, log_density = self(x, context, vector)
        for one in latents:
            log_density = log_density + log_normal(one)
        density: torch.Tensor = log_density
        return density

    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Return (C, H, W) of each level's latents."""
        channels, height, width = self.shape
        shapes = []
        for number in range(1, len(self.levels) + 1):
            is_last = number == len(self.levels)
            shapes.append((channels * 2**number * (2 if is_last else 1), height // 2**number, width // 2**number))
        return shapes


def log_normal(z: torch.Tensor) -> torch.Tensor:
    """Return the log-density (N,) of numbers (N, ...) under N(0, 1), in nats."""
    return -0.5 * (z.square() + LOG_TWO_PI).flatten(1).sum(dim=1)
