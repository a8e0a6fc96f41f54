"""The layers of Glow (Kingma and Dhariwal, arXiv:1807.03039) that treat every place of an image alike.

An invertible layer has two methods: ``forward(x)`` returns its output and the log-determinant (N,) of its Jacobian, in nats,
and ``inverse(y)`` returns x. Shapes: N images, C channels, H rows, W columns.

Likelihoods need float32 or better: under autocast these layers leave it. What may be coarser is inside coupling networks,
where an error changes the model and not its inverse.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, Literal, ParamSpec, TypeVar

import torch
from torch import distributed, nn
from torch.nn import functional

Borders = Literal["zeros", "ones", "channel"]

# openai/glow learns logarithms of scales as a third of their value, so that they learn three times as fast (tfops.py).
SCALE_FACTOR = 3.0

# Uniform noise in one of 256 levels deviates by 1.1e-3. A channel that varies less is constant, and would be blown up.
LEAST_DEVIATION = 1e-3

# How far from black and white logits begin and end: a quarter of one of 256 levels.
LOGIT_MARGIN = 1e-3

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=nn.Module)


def exact(
    method: Callable[Concatenate[M, torch.Tensor, P], R],
) -> Callable[Concatenate[M, torch.Tensor, P], R]:
    """Return the method with autocast turned off; its first argument becomes float32 where it is coarser."""

    @functools.wraps(method)
    def out_of_autocast(self: M, x: torch.Tensor, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast(x.device.type, enabled=False):
            return method(self, at_least_float32(x), *args, **kwargs)

    # mypy tells the wrapped method from its like by the names of its arguments.
    return out_of_autocast  # type: ignore[return-value]


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def squeeze(x: torch.Tensor) -> torch.Tensor:
    """Return (N, C, H, W) as (N, 4C, H/2, W/2): each square of 2x2 pixels becomes four channels."""
    return functional.pixel_unshuffle(x, 2)


def unsqueeze(y: torch.Tensor) -> torch.Tensor:
    """Undo ``squeeze``."""
    return functional.pixel_shuffle(y, 2)


def spread(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return places in [-1/2, 1/2) as logits, and the log-determinant (N,): dark and bright pixels apart as grey ones are.

    The share of white that a place is, from 0 to 1, is first brought off both ends by ``LOGIT_MARGIN`` (Dinh et al.,
    arXiv:1605.08803, section 4.1). A constant background then varies by a thirtieth of the range, not a thousandth.
    """
    share = LOGIT_MARGIN + (1 - 2 * LOGIT_MARGIN) * (x + 0.5)
    logits = share.log() - (-share).log1p()
    slope = math.log(1 - 2 * LOGIT_MARGIN) - share.log() - (-share).log1p()
    return logits, slope.flatten(1).sum(dim=1)


def unspread(logits: torch.Tensor) -> torch.Tensor:
    """Undo ``spread``."""
    return (torch.sigmoid(logits) - LOGIT_MARGIN) / (1 - 2 * LOGIT_MARGIN) - 0.5


class ActNorm(nn.Module):
    """Scale and shift of each channel, set from the first batch so that its output has mean 0 and deviation 1 (section 3.1).

    Until it is measured, see ``measuring``, it is the identity. That it was is kept in a buffer, and so in checkpoints.
    """

    bias: torch.Tensor
    logs: torch.Tensor
    initialised: torch.Tensor

    def __init__(self, channels: int, *, is_learned: bool = True) -> None:
        """``is_learned=False``: what the first batch sets stays; nothing here is a parameter."""
        super().__init__()
        for name in ("bias", "logs"):
            value = torch.zeros(1, channels, 1, 1)
            if is_learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("initialised", torch.tensor(False))
        # A plain attribute, so that training never waits for a buffer on the GPU.
        self.is_measuring = False

    @exact
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.is_measuring:
            self._measure(x)
        logs = self.logs * SCALE_FACTOR
        return (x + self.bias) * logs.exp(), (logs.sum() * (x.shape[2] * x.shape[3])).expand(len(x))

    @exact
    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return y * (-self.logs * SCALE_FACTOR).exp() - self.bias

    @torch.no_grad()
    def _measure(self, x: torch.Tensor) -> None:
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        square = (x - mean).square().mean(dim=(0, 2, 3), keepdim=True).double() + mean.double().square()
        if distributed.is_available() and distributed.is_initialized():
            # Batches are equal on all ranks, so their mean is the mean of all: as one process would have found.
            both = torch.cat([mean.double(), square])
            distributed.all_reduce(both)
            mean, square = (both / distributed.get_world_size()).chunk(2)
        deviation = (square - mean.double().square()).clamp(min=0).sqrt()
        self.bias.copy_(-mean)
        self.logs.copy_(-deviation.clamp(min=LEAST_DEVIATION).log() / SCALE_FACTOR)
        self.initialised.fill_(True)
        self.is_measuring = False


@contextmanager
def measuring(module: nn.Module) -> Iterator[None]:
    """Within, a forward pass sets each ActNorm of the module that was never set; all ranks have to take part."""
    norms = [one for one in module.modules() if isinstance(one, ActNorm)]
    for norm in norms:
        norm.is_measuring = not bool(norm.initialised)
    try:
        yield
    finally:
        for norm in norms:
            norm.is_measuring = False


def is_measured(module: nn.Module) -> bool:
    """Return whether every ActNorm of the module has been set from data."""
    return all(bool(one.initialised) for one in module.modules() if isinstance(one, ActNorm))


class Permutation(nn.Module):
    """An invertible 1x1 convolution (section 3.2): a plain matrix, or its LU decomposition with a fixed permutation."""

    permutation: torch.Tensor
    sign: torch.Tensor

    def __init__(self, channels: int, kind: Literal["plain", "lu"] = "plain") -> None:
        super().__init__()
        self.kind = kind
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        if kind == "plain":
            self.matrix = nn.Parameter(rotation)
            return
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation.contiguous())
        self.register_buffer("sign", upper.diagonal().sign())
        # Whole matrices, of which a triangle is used, as in the official code; the parameter counts in print include both.
        self.lower, self.upper = nn.Parameter(lower.contiguous()), nn.Parameter(upper.triu(1).contiguous())
        self.logs = nn.Parameter(upper.diagonal().abs().log())

    def weight(self) -> torch.Tensor:
        """Return the matrix (C, C)."""
        if self.kind == "plain":
            return self.matrix
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        return self.permutation @ lower @ (self.upper.triu(1) + torch.diag(self.sign * self.logs.exp()))

    @exact
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # In float64: a determinant is a product of many numbers.
        total = self.logs.sum() if self.kind == "lu" else torch.linalg.slogdet(self.matrix.double())[1].to(x.dtype)
        return _mix(x, self.weight()), (total * (x.shape[2] * x.shape[3])).expand(len(x))

    @exact
    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return _mix(y, torch.linalg.inv(self.weight().double()).to(y.dtype))


def _mix(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, weight[:, :, None, None])


class Convolution(nn.Module):
    """3x3, with a choice of what lies beyond the borders. N(0, 0.05), as in openai/glow.

    ``channel`` is the official code's: one more input channel that is 1 beyond the border and 0 inside, so that a network can
    know where the border is. ``ones`` is rosinality/glow-pytorch's: all channels are 1 there. Both come to adding a convolved
    ring to a convolution padded with zeros; the ring is the same for all images and costs next to nothing.
    """

    def __init__(self, inputs: int, outputs: int, borders: Borders, *, bias: bool) -> None:
        super().__init__()
        self.borders = borders
        self.weight = nn.Parameter(torch.randn(outputs, inputs + (borders == "channel"), 3, 3) * 0.05)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.borders == "zeros":
            return functional.conv2d(x, self.weight, self.bias, padding=1)
        if self.borders == "channel":
            inner, ring = self.weight[:, :-1], self.weight[:, -1:]
        else:
            inner, ring = self.weight, self.weight.sum(dim=1, keepdim=True)
        beyond = functional.pad(torch.zeros(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device), (1, 1, 1, 1), value=1.0)
        return functional.conv2d(x, inner, self.bias, padding=1) + functional.conv2d(beyond, ring)


class ZeroConvolution(nn.Module):
    """The last convolution of a network: it starts at zero and learns the scale of each output (section 3.3)."""

    def __init__(self, inputs: int, outputs: int, borders: Borders) -> None:
        super().__init__()
        self.convolution = Convolution(inputs, outputs, borders, bias=True)
        self.logs = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        nn.init.zeros_(self.convolution.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.convolution(x) * (self.logs * SCALE_FACTOR).exp()
        return scaled
