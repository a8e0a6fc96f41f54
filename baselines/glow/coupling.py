"""Coupling layers: half of the channels stay, and decide, with the context, what happens to the other half.

N images, C channels, H rows, W columns; K channels of context, V numbers in the vector that describes an image.
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
    """What a coupling layer is made of."""

    coupling: Literal["additive", "affine"] = "additive"
    """`additive` shifts; `affine` shifts and scales by a factor between 0 and 1, so that density may vary with place."""
    form: Form = "official"
    """`official` networks normalise their activations (ActNorm) and know borders by a channel, as openai/glow's. `cglow` ones
    have biases, and borders of ones in their last layer, as those that arXiv:1910.11106 adapted; the parameter counts in print
    belong to them."""
    width: int = 512
    """Channels inside the networks."""
    least_scale: float = 0.1
    """The least factor of an affine layer. 0 is the official code's; then bright pixels on a constant background, whose noise a
    flow blows up, are squeezed so hard beside it that float32 no longer finds them again."""

    def __post_init__(self) -> None:
        for name, allowed in {"coupling": ("additive", "affine"), "form": ("official", "cglow")}.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name, str(getattr(self, name)), allowed)
        if self.width < 1:
            raise RequestError(f"width {self.width} of coupling networks: expected 1 channel or more")
        if not 0 <= self.least_scale < 1:
            raise RequestError(f"least_scale {self.least_scale:g}: expected 0, or a factor below 1 such as 0.1")


class Modulation(nn.Module):
    """Scale and shift of channels by a vector (FiLM, Perez et al., arXiv:1709.07871); it starts as the identity."""

    def __init__(self, vector: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(vector, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor, vector_NV: torch.Tensor) -> torch.Tensor:
        scale, shift = self.linear(vector_NV)[:, :, None, None].chunk(2, dim=1)
        modulated: torch.Tensor = x * (1 + scale) + shift
        return modulated


class CouplingNetwork(nn.Module):
    """3x3, 1x1 and a 3x3 convolution that starts at zero, with ReLU between (section 3.3)."""

    def __init__(self, inputs: int, outputs: int, spec: CouplingSpec, *, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        is_official = spec.form == "official"
        self.first = Convolution(inputs + context, spec.width, "channel" if is_official else "zeros", bias=not is_official)
        self.second = nn.Conv2d(spec.width, spec.width, 1, bias=not is_official)
        nn.init.normal_(self.second.weight, std=0.05)
        if self.second.bias is not None:
            nn.init.zeros_(self.second.bias)
        self.norms = nn.ModuleList(ActNorm(spec.width) for _ in range(2 if is_official else 0))
        self.modulation = Modulation(vector, spec.width) if vector else None
        self.last = ZeroConvolution(spec.width, outputs, "channel" if is_official else "ones")

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None, vector: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.first(x if context is None else torch.cat([x, context], dim=1))
        hidden = self.norms[0](hidden)[0] if self.norms else hidden
        if self.modulation is not None:
            hidden = self.modulation(hidden, vector)
        hidden = self.second(functional.relu(hidden))
        hidden = self.norms[1](hidden)[0] if self.norms else hidden
        return at_least_float32(self.last(functional.relu(hidden)))


class Coupling(nn.Module):
    """(N, C, H, W) to the same, changing the second half of the channels (section 3.3, table 1)."""

    def __init__(self, channels: int, spec: CouplingSpec, *, context: int = 0, vector: int = 0) -> None:
        super().__init__()
        self.coupling, self.least_scale = spec.coupling, spec.least_scale
        kept, changed = (channels + 1) // 2, channels // 2
        outputs = changed if spec.coupling == "additive" else 2 * changed
        self.network = CouplingNetwork(kept, outputs, spec, context=context, vector=vector)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, vector: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kept, changed = x.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(kept, context, vector)
        if log_scale is None:
            return torch.cat([kept, changed + shift], dim=1), x.new_zeros(len(x))
        # Shifted before it is scaled, as in the official code.
        return torch.cat([kept, (changed + shift) * log_scale.exp()], dim=1), log_scale.flatten(1).sum(dim=1)

    def inverse(self, y: torch.Tensor, context: torch.Tensor | None = None, vector: torch.Tensor | None = None) -> torch.Tensor:
        kept, changed = y.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(kept, context, vector)
        if log_scale is not None:
            changed = changed * (-log_scale).exp()
        return torch.cat([kept, changed - shift], dim=1)

    def _shift_and_log_scale(
        self, kept: torch.Tensor, context: torch.Tensor | None, vector: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        told = self.network(kept, context, vector)
        return (told, None) if self.coupling == "additive" else shift_and_log_scale(told, self.least_scale)


class Injector(nn.Module):
    """(N, C, H, W) to the same: an affine layer that the context alone decides (Lugmayr et al., arXiv:2006.14200)."""

    def __init__(self, channels: int, spec: CouplingSpec, *, context: int, vector: int = 0) -> None:
        super().__init__()
        self.least_scale = spec.least_scale
        self.network = CouplingNetwork(context, 2 * channels, spec, vector=vector)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, vector: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shift, log_scale = shift_and_log_scale(self.network(context, None, vector), self.least_scale)
        return (x + shift) * log_scale.exp(), log_scale.flatten(1).sum(dim=1)

    def inverse(self, y: torch.Tensor, context: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
        shift, log_scale = shift_and_log_scale(self.network(context, None, vector), self.least_scale)
        return y * (-log_scale).exp() - shift


def shift_and_log_scale(told: torch.Tensor, least_scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a network's outputs (N, 2C, H, W) say in turn: shifts, and logarithms of factors, ``least_scale`` to 1."""
    # A factor of sigmoid(2) = 0.88 at the start, as in the official code.
    shift, raised = told[:, 0::2], told[:, 1::2] + 2.0
    if not least_scale:
        return shift, functional.logsigmoid(raised)
    return shift, (least_scale + (1 - least_scale) * torch.sigmoid(raised)).log()
