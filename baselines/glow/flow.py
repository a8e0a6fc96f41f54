"""Glow: an invertible map from images to as many independent normal numbers (arXiv:1807.03039, figure 2).

At each level an image is squeezed and goes through K steps of ActNorm, 1x1 convolution and coupling; half of its channels
then leave as latents, normal around what the other half predicts. The whole flow is itself an invertible layer: ``forward``
returns the standardised latents and the log-determinant, ``inverse`` the image.

Shapes: N images, C channels, H rows, W columns; K channels of context at each level; V numbers in the vector of an image.
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
    from_logits,
    squeeze,
    to_logits,
    unsqueeze,
    without_autocast,
)
from t2vdata.errors import RequestError, unknown_name

LOG_TWO_PI = math.log(2 * math.pi)

Features = Sequence[torch.Tensor] | None
"""Features of the context at each level: (N, K, H/2, W/2), (N, K, H/4, W/4) ..., see ``context.Pyramid``."""


@dataclass(frozen=True)
class FlowSpec(CouplingSpec):
    """The size and kind of a Glow and of its coupling layers."""

    levels: int = 3
    """How often an image is squeezed; height and width must be multiples of 2 to this power."""
    steps: int = 32
    """Steps of flow at each level."""
    pixels: Literal["linear", "logit"] = "linear"
    """What the flow models: pixels in [-1/2, 1/2), as in the papers, or the logit of their share of white, in which a constant
    background varies about as much as everything else."""
    injector: bool = False
    """Whether each level starts with an affine layer that depends on the context alone, for what earlier frames determine."""
    permutation: Literal["plain", "lu"] = "plain"
    """1x1 convolutions as plain matrices, or as LU decompositions, whose determinant costs nothing."""
    conditional_priors: bool = False
    """Whether the context also feeds the means and scales of the latents; in the paper it only feeds coupling networks."""
    checkpoint: bool = False
    """Whether steps store only their input for the backward pass and recompute the rest: less memory, more time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1 or self.steps < 1:
            raise RequestError(f"a Glow of {self.levels} levels with {self.steps} steps each: expected 1 or more of both")
        for name, known in {"permutation": ("plain", "lu"), "pixels": ("linear", "logit")}.items():
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)


class FlowStep(nn.Module):
    """ActNorm, 1x1 convolution and coupling: (N, C, H, W) to the same shape."""

    def __init__(self, num_channels: int, spec: FlowSpec, *, context_channels: int = 0, vector_size: int = 0) -> None:
        super().__init__()
        self.norm = ActNorm(num_channels)
        self.permutation = Permutation(num_channels, spec.permutation)
        self.coupling = Coupling(num_channels, spec, context_channels=context_channels, vector_size=vector_size)

    def forward(
        self, x_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None = None, vector_NV: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x_NCHW, norm_logdet_N = self.norm(x_NCHW)
        x_NCHW, permutation_logdet_N = self.permutation(x_NCHW)
        x_NCHW, coupling_logdet_N = self.coupling(x_NCHW, context_NKHW, vector_NV)
        return x_NCHW, norm_logdet_N + permutation_logdet_N + coupling_logdet_N

    def inverse(
        self, y_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None = None, vector_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        y_NCHW = self.coupling.inverse(y_NCHW, context_NKHW, vector_NV)
        x_NCHW: torch.Tensor = self.norm.inverse(self.permutation.inverse(y_NCHW))
        return x_NCHW


class Prior(nn.Module):
    """Learned mean and log-scale of latents, initialised to N(0, 1).

    They are predicted from the channels that stay; at the top, where none stay, from zeros, with borders and bias.
    """

    def __init__(
        self, num_inputs: int, num_latents: int, spec: FlowSpec, *, context_channels: int = 0, vector_size: int = 0
    ) -> None:
        super().__init__()
        num_context = context_channels if spec.conditional_priors else 0
        borders: Literal["channel", "ones"] = "channel" if spec.form == "official" else "ones"
        self.convolution = ZeroConvolution(num_inputs + num_context, 2 * num_latents, borders)
        self.takes_context = bool(num_context)
        self.linear = nn.Linear(vector_size, 2 * num_latents) if vector_size else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    @without_autocast
    def forward(
        self, kept_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None, vector_NV: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.takes_context and context_NKHW is not None:
            kept_NCHW = torch.cat([kept_NCHW, context_NKHW.to(kept_NCHW.dtype)], dim=1)
        output_NCHW = self.convolution(kept_NCHW)
        if self.linear is not None and vector_NV is not None:
            output_NCHW = output_NCHW + self.linear(vector_NV.to(kept_NCHW.dtype))[:, :, None, None]
        mean_NCHW, logs_NCHW = output_NCHW.chunk(2, dim=1)
        return mean_NCHW, logs_NCHW


class Level(nn.Module):
    """Steps of flow on a squeezed image, and the prior of the latents: half of its channels, at the last level all."""

    def __init__(
        self, num_channels: int, spec: FlowSpec, *, is_last: bool, context_channels: int = 0, vector_size: int = 0
    ) -> None:
        super().__init__()
        self.is_last, self.checkpoint = is_last, spec.checkpoint
        sizes = {"context_channels": context_channels, "vector_size": vector_size}
        self.injector = Injector(num_channels, spec, **sizes) if spec.injector and context_channels else None
        self.steps = nn.ModuleList(FlowStep(num_channels, spec, **sizes) for _ in range(spec.steps))
        num_latents = num_channels if is_last else num_channels // 2
        # A vector shifts the top of the flow, as classes do in the official code.
        self.prior = Prior(
            num_latents, num_latents, spec, context_channels=context_channels, vector_size=vector_size if is_last else 0
        )

    def forward(
        self, x_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None, vector_NV: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the input of the next level, the standardised latents, and the log-determinant (N,)."""
        x_NCHW, logdet_N = squeeze(x_NCHW), x_NCHW.new_zeros(len(x_NCHW))
        if self.injector is not None and context_NKHW is not None:
            x_NCHW, logdet_N = self.injector(x_NCHW, context_NKHW, vector_NV)
        for step in self.steps:
            if self.checkpoint and torch.is_grad_enabled():
                x_NCHW, step_logdet_N = checkpoint(step, x_NCHW, context_NKHW, vector_NV, use_reentrant=False)
            else:
                x_NCHW, step_logdet_N = step(x_NCHW, context_NKHW, vector_NV)
            logdet_N = logdet_N + step_logdet_N
        kept_NCHW, latents_NCHW = (torch.zeros_like(x_NCHW), x_NCHW) if self.is_last else x_NCHW.chunk(2, dim=1)
        mean_NCHW, logs_NCHW = self.prior(kept_NCHW, context_NKHW, vector_NV)
        standardised_NCHW = (latents_NCHW - mean_NCHW) * (-logs_NCHW).exp()
        return kept_NCHW, standardised_NCHW, logdet_N - logs_NCHW.flatten(1).sum(dim=1)

    def inverse(
        self,
        kept_NCHW: torch.Tensor,
        latents_NCHW: torch.Tensor,
        context_NKHW: torch.Tensor | None,
        vector_NV: torch.Tensor | None,
    ) -> torch.Tensor:
        mean_NCHW, logs_NCHW = self.prior(kept_NCHW, context_NKHW, vector_NV)
        latents_NCHW = latents_NCHW * logs_NCHW.exp() + mean_NCHW
        x_NCHW = latents_NCHW if self.is_last else torch.cat([kept_NCHW, latents_NCHW], dim=1)
        for step in reversed(cast("list[FlowStep]", list(self.steps))):
            x_NCHW = step.inverse(x_NCHW, context_NKHW, vector_NV)
        if self.injector is not None and context_NKHW is not None:
            x_NCHW = self.injector.inverse(x_NCHW, context_NKHW, vector_NV)
        return unsqueeze(x_NCHW)


class Flow(nn.Module):
    """A complete Glow for images (N, C, H, W), optionally conditioned on ``Features`` and a vector (N, V)."""

    def __init__(self, shape: tuple[int, int, int], spec: FlowSpec, *, context_channels: int = 0, vector_size: int = 0) -> None:
        super().__init__()
        num_channels, height, width = shape
        if height % 2**spec.levels or width % 2**spec.levels:
            raise RequestError(
                f"images of {height}x{width} cannot be halved {spec.levels} times; "
                f"expected multiples of {2**spec.levels}, or fewer levels"
            )
        self.shape, self.is_logit, levels = shape, spec.pixels == "logit", []
        for index in range(spec.levels):
            is_last = index == spec.levels - 1
            levels.append(
                Level(4 * num_channels, spec, is_last=is_last, context_channels=context_channels, vector_size=vector_size)
            )
            num_channels *= 2
        self.levels = nn.ModuleList(levels)

    def forward(
        self, x_NCHW: torch.Tensor, features: Features = None, vector_NV: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the standardised latents of each level, coarsest last, and the log-determinant (N,) of the whole flow."""
        x_NCHW = at_least_float32(x_NCHW)
        x_NCHW, logdet_N = to_logits(x_NCHW) if self.is_logit else (x_NCHW, x_NCHW.new_zeros(len(x_NCHW)))
        latents = []
        for index, level in enumerate(self.levels):
            x_NCHW, latents_NCHW, level_logdet_N = level(x_NCHW, None if features is None else features[index], vector_NV)
            logdet_N = logdet_N + level_logdet_N
            latents.append(latents_NCHW)
        return latents, logdet_N

    def inverse(
        self, latents: Sequence[torch.Tensor], features: Features = None, vector_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the images (N, C, H, W) with these latents."""
        x_NCHW = torch.zeros_like(latents[-1])
        for index, level in reversed(list(enumerate(cast("list[Level]", list(self.levels))))):
            x_NCHW = level.inverse(x_NCHW, latents[index], None if features is None else features[index], vector_NV)
        return from_logits(x_NCHW) if self.is_logit else x_NCHW

    def log_density(
        self, x_NCHW: torch.Tensor, features: Features = None, vector_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the log-density of images, in nats: (N,)."""
        latents, log_density_N = self(x_NCHW, features, vector_NV)
        for latents_NCHW in latents:
            log_density_N = log_density_N + log_normal(latents_NCHW)
        return cast(torch.Tensor, log_density_N)

    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Return (C, H, W) of each level's latents."""
        num_channels, height, width = self.shape
        shapes = []
        for level in range(1, len(self.levels) + 1):
            is_last = level == len(self.levels)
            shapes.append((num_channels * 2**level * (2 if is_last else 1), height // 2**level, width // 2**level))
        return shapes


def log_normal(z: torch.Tensor) -> torch.Tensor:
    """Return the log-density (N,) of numbers (N, ...) under N(0, 1), in nats."""
    return -0.5 * (z.square() + LOG_TWO_PI).flatten(1).sum(dim=1)
