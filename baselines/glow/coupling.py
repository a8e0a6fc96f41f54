"""Coupling layers: half of the channels pass through and, with the context, determine how the other half changes.

Shapes: N images, C channels, H rows, W columns; K channels of context; V numbers in the vector of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from baselines.glow.layers import ActNorm, Convolution, ZeroConvolution, at_least_float32
from t2vdata.errors import RequestError, unknown_name

Form = Literal["official", "cglow"]


@dataclass(frozen=True)
class CouplingSpec:
    """The kind and size of a coupling layer."""

    coupling: Literal["additive", "affine"] = "additive"
    """`additive` shifts; `affine` shifts and scales by a factor between 0 and 1, so that the density varies over the image."""
    form: Form = "official"
    """`official` networks normalise their activations (ActNorm) and have a border channel, like openai/glow. `cglow` networks
    have biases, and borders of ones in their last layer, like the code that arXiv:1910.11106 adapted; the published parameter
    counts are for these."""
    width: int = 512
    """Channels inside the networks."""
    least_scale: float = 0.1
    """Smallest factor of an affine layer. It is 0 in the official code; the flow then compresses bright pixels on a constant
    background, whose noise it magnifies, so much that float32 cannot reconstruct them."""

    def __post_init__(self) -> None:
        for name, allowed in {"coupling": ("additive", "affine"), "form": ("official", "cglow")}.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name, str(getattr(self, name)), allowed)
        if self.width < 1:
            raise RequestError(f"width {self.width} of coupling networks: expected 1 channel or more")
        if not 0 <= self.least_scale < 1:
            raise RequestError(f"least_scale {self.least_scale:g}: expected 0, or a factor below 1 such as 0.1")


class Modulation(nn.Module):
    """Scale and shift of channels by a vector (FiLM, Perez et al., arXiv:1709.07871), initialised as the identity."""

    def __init__(self, vector_size: int, num_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(vector_size, 2 * num_channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_NCHW: torch.Tensor, vector_NV: torch.Tensor) -> torch.Tensor:
        scale_NC11, shift_NC11 = self.linear(vector_NV)[:, :, None, None].chunk(2, dim=1)
        modulated_NCHW: torch.Tensor = x_NCHW * (1 + scale_NC11) + shift_NC11
        return modulated_NCHW


class CouplingNetwork(nn.Module):
    """Convolutions of 3x3, 1x1 and 3x3 with ReLU between; the last starts at zero (section 3.3)."""

    def __init__(
        self, num_inputs: int, num_outputs: int, spec: CouplingSpec, *, context_channels: int = 0, vector_size: int = 0
    ) -> None:
        super().__init__()
        is_official = spec.form == "official"
        borders: Literal["channel", "zeros"] = "channel" if is_official else "zeros"
        self.first = Convolution(num_inputs + context_channels, spec.width, borders, bias=not is_official)
        self.second = nn.Conv2d(spec.width, spec.width, 1, bias=not is_official)
        nn.init.normal_(self.second.weight, std=0.05)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)
        self.norms = nn.ModuleList(ActNorm(spec.width) for _ in range(2 if is_official else 0))
        self.modulation = Modulation(vector_size, spec.width) if vector_size else None
        self.last = ZeroConvolution(spec.width, num_outputs, "channel" if is_official else "ones")

    def forward(
        self, x_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None = None, vector_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        hidden_NCHW = self.first(x_NCHW if context_NKHW is None else torch.cat([x_NCHW, context_NKHW], dim=1))
        hidden_NCHW = self.norms[0](hidden_NCHW)[0] if self.norms else hidden_NCHW
        if self.modulation is not None:
            hidden_NCHW = self.modulation(hidden_NCHW, vector_NV)
        hidden_NCHW = self.second(functional.relu(hidden_NCHW))
        hidden_NCHW = self.norms[1](hidden_NCHW)[0] if self.norms else hidden_NCHW
        return at_least_float32(self.last(functional.relu(hidden_NCHW)))


class Coupling(nn.Module):
    """Change the second half of the channels: (N, C, H, W) to the same shape (section 3.3, table 1)."""

    def __init__(self, num_channels: int, spec: CouplingSpec, *, context_channels: int = 0, vector_size: int = 0) -> None:
        super().__init__()
        self.coupling, self.least_scale = spec.coupling, spec.least_scale
        num_kept, num_changed = (num_channels + 1) // 2, num_channels // 2
        num_outputs = num_changed if spec.coupling == "additive" else 2 * num_changed
        self.network = CouplingNetwork(num_kept, num_outputs, spec, context_channels=context_channels, vector_size=vector_size)

    def forward(
        self, x_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None = None, vector_NV: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kept_NCHW, changed_NCHW = x_NCHW.chunk(2, dim=1)
        shift_NCHW, log_scale_NCHW = self._shift_and_log_scale(kept_NCHW, context_NKHW, vector_NV)
        if log_scale_NCHW is None:
            return torch.cat([kept_NCHW, changed_NCHW + shift_NCHW], dim=1), x_NCHW.new_zeros(len(x_NCHW))
        # Shifted before it is scaled, as in the official code.
        scaled_NCHW = (changed_NCHW + shift_NCHW) * log_scale_NCHW.exp()
        return torch.cat([kept_NCHW, scaled_NCHW], dim=1), log_scale_NCHW.flatten(1).sum(dim=1)

    def inverse(
        self, y_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None = None, vector_NV: torch.Tensor | None = None
    ) -> torch.Tensor:
        kept_NCHW, changed_NCHW = y_NCHW.chunk(2, dim=1)
        shift_NCHW, log_scale_NCHW = self._shift_and_log_scale(kept_NCHW, context_NKHW, vector_NV)
        if log_scale_NCHW is not None:
            changed_NCHW = changed_NCHW * (-log_scale_NCHW).exp()
        return torch.cat([kept_NCHW, changed_NCHW - shift_NCHW], dim=1)

    def _shift_and_log_scale(
        self, kept_NCHW: torch.Tensor, context_NKHW: torch.Tensor | None, vector_NV: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        output_NCHW = self.network(kept_NCHW, context_NKHW, vector_NV)
        return (output_NCHW, None) if self.coupling == "additive" else shift_and_log_scale(output_NCHW, self.least_scale)


class Injector(nn.Module):
    """An affine layer that depends on the context alone: (N, C, H, W) to the same shape (Lugmayr et al., arXiv:2006.14200)."""

    def __init__(self, num_channels: int, spec: CouplingSpec, *, context_channels: int, vector_size: int = 0) -> None:
        super().__init__()
        self.least_scale = spec.least_scale
        self.network = CouplingNetwork(context_channels, 2 * num_channels, spec, vector_size=vector_size)

    def forward(
        self, x_NCHW: torch.Tensor, context_NKHW: torch.Tensor, vector_NV: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shift_NCHW, log_scale_NCHW = shift_and_log_scale(self.network(context_NKHW, None, vector_NV), self.least_scale)
        return (x_NCHW + shift_NCHW) * log_scale_NCHW.exp(), log_scale_NCHW.flatten(1).sum(dim=1)

    def inverse(self, y_NCHW: torch.Tensor, context_NKHW: torch.Tensor, vector_NV: torch.Tensor | None = None) -> torch.Tensor:
        shift_NCHW, log_scale_NCHW = shift_and_log_scale(self.network(context_NKHW, None, vector_NV), self.least_scale)
        return y_NCHW * (-log_scale_NCHW).exp() - shift_NCHW


def shift_and_log_scale(output_NCHW: torch.Tensor, least_scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Split a network's output: even channels are shifts, odd ones give the logarithms of factors from ``least_scale`` to 1."""
    # A factor of sigmoid(2) = 0.88 at the start, as in the official code.
    shift_NCHW, logit_NCHW = output_NCHW[:, 0::2], output_NCHW[:, 1::2] + 2.0
    if not least_scale:
        return shift_NCHW, functional.logsigmoid(logit_NCHW)
    return shift_NCHW, (least_scale + (1 - least_scale) * torch.sigmoid(logit_NCHW)).log()
