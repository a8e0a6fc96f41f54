"""The layers of Glow (Kingma and Dhariwal, arXiv:1807.03039) that treat all positions of an image alike.

An invertible layer has two methods: ``forward(x)`` returns its output and the log-determinant (N,) of its Jacobian, in nats;
``inverse(y)`` returns x.

Likelihoods need float32 or better, so these layers disable autocast. Only coupling networks may run in lower precision: an
error there changes the model but not its invertibility.

Shapes: N images, C channels, H rows, W columns.
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

# openai/glow stores logarithms of scales divided by 3, so that they learn three times as fast (tfops.py).
SCALE_FACTOR = 3.0

# Uniform noise in one of 256 levels has a deviation of 1.1e-3. A channel that varies less is constant: do not scale it up.
LEAST_DEVIATION = 1e-3

# Distance of the logits' domain from black and from white: a quarter of one of 256 levels.
LOGIT_MARGIN = 1e-3

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=nn.Module)


def without_autocast(
    method: Callable[Concatenate[M, torch.Tensor, P], R],
) -> Callable[Concatenate[M, torch.Tensor, P], R]:
    """Return the method with autocast disabled and its first argument converted to float32 or better."""

    @functools.wraps(method)
    def out_of_autocast(self: M, x: torch.Tensor, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast(x.device.type, enabled=False):
            return method(self, at_least_float32(x), *args, **kwargs)

    # mypy takes the argument names of the wrapper for a difference in type.
    return out_of_autocast  # type: ignore[return-value]


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def squeeze(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return (N, 4C, H/2, W/2): each square of 2x2 pixels becomes four channels."""
    return functional.pixel_unshuffle(x_NCHW, 2)


def unsqueeze(y_NCHW: torch.Tensor) -> torch.Tensor:
    """Undo ``squeeze``."""
    return functional.pixel_shuffle(y_NCHW, 2)


def to_logits(x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels in [-1/2, 1/2) as logits of their share of white, and the log-determinant (N,).

    The share, from 0 to 1, is first moved away from both ends by ``LOGIT_MARGIN`` (Dinh et al., arXiv:1605.08803, section 4.1).
    A constant black background then varies by a thirtieth of the range instead of a thousandth.
    """
    share_NCHW = LOGIT_MARGIN + (1 - 2 * LOGIT_MARGIN) * (x_NCHW + 0.5)
    logits_NCHW = share_NCHW.log() - (-share_NCHW).log1p()
    log_slope_NCHW = math.log(1 - 2 * LOGIT_MARGIN) - share_NCHW.log() - (-share_NCHW).log1p()
    return logits_NCHW, log_slope_NCHW.flatten(1).sum(dim=1)


def from_logits(logits_NCHW: torch.Tensor) -> torch.Tensor:
    """Undo ``to_logits``."""
    return (torch.sigmoid(logits_NCHW) - LOGIT_MARGIN) / (1 - 2 * LOGIT_MARGIN) - 0.5


class ActNorm(nn.Module):
    """Scale and shift of each channel, initialised from the first batch to mean 0 and deviation 1 (section 3.1).

    It is the identity before that, see ``data_dependent_init``. Whether it is initialised is a buffer and so in checkpoints.
    """

    bias: torch.Tensor
    logs: torch.Tensor
    initialised: torch.Tensor

    def __init__(self, num_channels: int, *, is_learned: bool = True) -> None:
        """``is_learned=False`` keeps the values of the first batch; the layer then has no parameters."""
        super().__init__()
        for name in ("bias", "logs"):
            value = torch.zeros(1, num_channels, 1, 1)
            if is_learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("initialised", torch.tensor(False))
        # A plain attribute, so that training never waits for a buffer on the GPU.
        self.is_initialising = False

    @without_autocast
    def forward(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.is_initialising:
            self._initialise(x_NCHW)
        logs = self.logs * SCALE_FACTOR
        logdet = logs.sum() * (x_NCHW.shape[2] * x_NCHW.shape[3])
        return (x_NCHW + self.bias) * logs.exp(), logdet.expand(len(x_NCHW))

    @without_autocast
    def inverse(self, y_NCHW: torch.Tensor) -> torch.Tensor:
        return y_NCHW * (-self.logs * SCALE_FACTOR).exp() - self.bias

    @torch.no_grad()
    def _initialise(self, x_NCHW: torch.Tensor) -> None:
        mean = x_NCHW.mean(dim=(0, 2, 3), keepdim=True)
        square = (x_NCHW - mean).square().mean(dim=(0, 2, 3), keepdim=True).double() + mean.double().square()
        if distributed.is_available() and distributed.is_initialized():
            # Batches have the same size on all ranks, so the mean over ranks is what a single process would compute.
            both = torch.cat([mean.double(), square])
            distributed.all_reduce(both)
            mean, square = (both / distributed.get_world_size()).chunk(2)
        deviation = (square - mean.double().square()).clamp(min=0).sqrt()
        self.bias.copy_(-mean)
        self.logs.copy_(-deviation.clamp(min=LEAST_DEVIATION).log() / SCALE_FACTOR)
        self.initialised.fill_(True)
        self.is_initialising = False


@contextmanager
def data_dependent_init(module: nn.Module) -> Iterator[None]:
    """Within the block, a forward pass initialises each ActNorm that has not been; all ranks must take part."""
    norms = [norm for norm in module.modules() if isinstance(norm, ActNorm)]
    for norm in norms:
        norm.is_initialising = not bool(norm.initialised)
    try:
        yield
    finally:
        for norm in norms:
            norm.is_initialising = False


def is_initialised(module: nn.Module) -> bool:
    """Return whether every ActNorm of the module has been initialised from data."""
    return all(bool(norm.initialised) for norm in module.modules() if isinstance(norm, ActNorm))


class Permutation(nn.Module):
    """An invertible 1x1 convolution (section 3.2): a plain matrix, or its LU decomposition with a fixed permutation."""

    permutation: torch.Tensor
    sign: torch.Tensor

    def __init__(self, num_channels: int, kind: Literal["plain", "lu"] = "plain") -> None:
        super().__init__()
        self.kind = kind
        rotation = torch.linalg.qr(torch.randn(num_channels, num_channels))[0]
        if kind == "plain":
            self.matrix = nn.Parameter(rotation)
            return
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation.contiguous())
        self.register_buffer("sign", upper.diagonal().sign())
        # Full matrices of which a triangle is used, as in the official code; the published parameter counts include both.
        self.lower, self.upper = nn.Parameter(lower.contiguous()), nn.Parameter(upper.triu(1).contiguous())
        self.logs = nn.Parameter(upper.diagonal().abs().log())

    def weight(self) -> torch.Tensor:
        """Return the matrix (C, C)."""
        if self.kind == "plain":
            return self.matrix
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        return self.permutation @ lower @ (self.upper.triu(1) + torch.diag(self.sign * self.logs.exp()))

    @without_autocast
    def forward(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # In float64, because a determinant is a product of many numbers.
        logdet = self.logs.sum() if self.kind == "lu" else torch.linalg.slogdet(self.matrix.double())[1].to(x_NCHW.dtype)
        return _mix(x_NCHW, self.weight()), (logdet * (x_NCHW.shape[2] * x_NCHW.shape[3])).expand(len(x_NCHW))

    @without_autocast
    def inverse(self, y_NCHW: torch.Tensor) -> torch.Tensor:
        return _mix(y_NCHW, torch.linalg.inv(self.weight().double()).to(y_NCHW.dtype))


def _mix(x_NCHW: torch.Tensor, weight_CC: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x_NCHW, weight_CC[:, :, None, None])


class Convolution(nn.Module):
    """A 3x3 convolution with a choice of borders, its weights initialised from N(0, 0.05) as in openai/glow.

    ``channel`` is the official code's: an additional input channel that is 1 beyond the border and 0 inside, so that a network
    can locate the border. ``ones`` is rosinality/glow-pytorch's: all channels are 1 beyond the border. Both equal a
    convolution padded with zeros plus a convolved ring; the ring is the same for all images and costs next to nothing.
    """

    def __init__(self, num_inputs: int, num_outputs: int, borders: Borders, *, bias: bool) -> None:
        super().__init__()
        self.borders = borders
        self.weight = nn.Parameter(torch.randn(num_outputs, num_inputs + (borders == "channel"), 3, 3) * 0.05)
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if self.borders == "zeros":
            return functional.conv2d(x_NCHW, self.weight, self.bias, padding=1)
        if self.borders == "channel":
            inner, ring = self.weight[:, :-1], self.weight[:, -1:]
        else:
            inner, ring = self.weight, self.weight.sum(dim=1, keepdim=True)
        inside = torch.zeros(1, 1, *x_NCHW.shape[2:], dtype=x_NCHW.dtype, device=x_NCHW.device)
        beyond = functional.pad(inside, (1, 1, 1, 1), value=1.0)
        return functional.conv2d(x_NCHW, inner, self.bias, padding=1) + functional.conv2d(beyond, ring)


class ZeroConvolution(nn.Module):
    """The last convolution of a network: it starts at zero and learns the scale of each output (section 3.3)."""

    def __init__(self, num_inputs: int, num_outputs: int, borders: Borders) -> None:
        super().__init__()
        self.convolution = Convolution(num_inputs, num_outputs, borders, bias=True)
        self.logs = nn.Parameter(torch.zeros(1, num_outputs, 1, 1))
        nn.init.zeros_(self.convolution.weight)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        scaled_NCHW: torch.Tensor = self.convolution(x_NCHW) * (self.logs * SCALE_FACTOR).exp()
        return scaled_NCHW
