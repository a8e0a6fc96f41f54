"""Layers of the generators and discriminators, in two dimensions (frames) or three (clips).

B clips, C channels, T frames, H rows, W columns, N features of noise and sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from baselines.gan.spec import DiscriminatorNorm, GeneratorNorm, ModelSpec
from t2vdata.errors import RequestError

SLOPE = 0.2
"""Negative slope of leaky ReLUs."""
Size = tuple[int, ...]
Shape = tuple[int, int, int, int]
"""(C, T, H, W) of a clip."""

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Generated(NamedTuple):
    """Output of a generator."""

    video: torch.Tensor
    """(B, C, T, H, W), -1 to 1."""
    mask: torch.Tensor | None = None
    """(B, 1, T, H, W), 0 to 1: the share of foreground in each pixel, for two-stream generators."""


class TextLayer(nn.Linear):
    """A linear layer whose only input is a sentence; ``text_std`` sets its initial weights."""


class Latent(nn.Module):
    """Concatenates noise with the sentence, which is first projected to ``generator_text`` features."""

    def __init__(self, spec: ModelSpec, text_size: int) -> None:
        super().__init__()
        projected_size = spec.generator_text if text_size else None
        self.text: nn.Module | None = None
        if projected_size is not None:
            layer = TextLayer(text_size, projected_size)
            self.text = nn.Sequential(layer, nn.LeakyReLU(SLOPE)) if spec.text_activation else layer
        self.size = spec.noise + (text_size if projected_size is None else projected_size)

    def forward(self, noise_BN: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        if text_BS is None:
            return noise_BN
        return torch.cat([noise_BN, text_BS if self.text is None else self.text(text_BS)], 1)


def first_map(size: Size, doublings: int, first_frames: int | None = None) -> tuple[Size, list[Size]]:
    """Return the size of the first map for a final ``size`` (T, H, W) or (H, W), and the factors of each doubling.

    Only the first doublings double time: as many as T allows, or as many as lead from ``first_frames`` to T. Raises
    RequestError for a size that doublings cannot reach.
    """
    *time, height, width = size
    factor = 2**doublings
    if height % factor or width % factor:
        raise RequestError(
            f"clips of {height}x{width} pixels cannot be reached by {doublings} doublings; expected multiples of {factor}, "
            "or change model.blocks"
        )
    if not time:
        return (height // factor, width // factor), [(2, 2)] * doublings
    frames = time[0]
    times = min(doublings, (frames & -frames).bit_length() - 1)
    if first_frames is not None:
        times = round(math.log2(frames / first_frames)) if frames >= first_frames else -1
        if not 0 <= times <= doublings or first_frames * 2**times != frames:
            raise RequestError(f"first_frames {first_frames}: up to {doublings} doublings never give {frames} frames")
    factors = [(2 if index < times else 1, 2, 2) for index in range(doublings)]
    return (frames // 2**times, height // factor, width // factor), list(factors)


def convolution(
    inputs: int, outputs: int, kernel: Size, *, stride: Size | int = 1, padding: Size | int = 0, transposed: bool = False,
    bias: bool = False,
) -> nn.Module:  # fmt: skip
    """Return a convolution in as many dimensions as its kernel has."""
    kind = (_TRANSPOSED if transposed else _CONVOLUTIONS)[len(kernel)]
    return kind(inputs, outputs, kernel, stride, padding, bias=bias)


def doubling(
    inputs: int, outputs: int, factors: Size, size: Size, *, upsampling: Literal["transposed", "nearest"], bias: bool = False
) -> nn.Module:
    """Return the layer that enlarges a map of ``size`` by ``factors``, each 1 or 2."""
    if upsampling == "nearest":
        kernel = tuple(1 if factor * side == 1 else 3 for factor, side in zip(factors, size, strict=True))
        even = convolution(inputs, outputs, kernel, padding=tuple(side // 2 for side in kernel), bias=bias)
        return nn.Sequential(nn.Upsample(scale_factor=tuple(map(float, factors))), even)
    kernel = tuple(_kernel(factor, side) for factor, side in zip(factors, size, strict=True))
    padding = tuple(0 if side == 1 else 1 for side in kernel)
    return convolution(inputs, outputs, kernel, stride=factors, padding=padding, transposed=True, bias=bias)


def halving(inputs: int, outputs: int, size: Size, *, bias: bool = False) -> tuple[nn.Module, Size]:
    """Return the layer that halves a map of ``size``, and its output size; a side of 1 stays."""
    strides = tuple(2 if side > 1 else 1 for side in size)
    kernel = tuple(_kernel(stride, side) for stride, side in zip(strides, size, strict=True))
    padding = tuple(0 if side == 1 else 1 for side in kernel)
    layer = convolution(inputs, outputs, kernel, stride=strides, padding=padding, bias=bias)
    return layer, tuple((side + 2 * edge - field) // stride + 1
                        for side, edge, field, stride in zip(size, padding, kernel, strides, strict=True))  # fmt: skip


def _kernel(factor: int, side: int) -> int:
    # An axis that keeps its size is still convolved with its neighbours; a side of 1 has none.
    return 4 if factor == 2 else 3 if side > 1 else 1


class Modulation(nn.Linear):
    """Predicts scale and shift from noise and sentence; initialised close to the identity."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)


class Normed(nn.Module):
    """Normalisation in a generator; conditional kinds take scale and shift from noise and sentence."""

    def __init__(self, kind: GeneratorNorm, dims: int, channels: int, condition_size: int) -> None:
        super().__init__()
        conditional = kind.startswith("conditional")
        self.norm: nn.Module = nn.Identity()
        if kind.endswith("batch"):
            self.norm = _BATCH_NORMS[dims](channels, affine=not conditional)
        elif kind == "conditional pixel":
            self.norm = PixelNorm()
        self.modulation = Modulation(condition_size, 2 * channels) if conditional else None

    def forward(self, maps: torch.Tensor, condition_BN: torch.Tensor) -> torch.Tensor:
        normed = self.norm(maps)
        if self.modulation is None:
            return cast(torch.Tensor, normed)
        scale, shift = self.modulation(condition_BN).view(len(maps), -1, *[1] * (maps.dim() - 2)).chunk(2, 1)
        return cast(torch.Tensor, normed * (1 + scale) + shift)


class PixelNorm(nn.Module):
    """Scales the channels of each pixel to a mean square of 1 (Karras et al. 2018, section 4.2)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps * torch.rsqrt(maps.square().mean(1, keepdim=True) + 1e-6)


class Trunk(nn.Module):
    """Maps noise and sentence (B, N) to the feature map before a generator's last layer."""

    def __init__(self, spec: ModelSpec, inputs: int, size: Size, *, condition_size: int, bias: bool = False) -> None:
        """``size`` is that of the generated clip or frame, reached by the doublings of ``spec``."""
        super().__init__()
        frames = spec.first_frames if len(size) == 3 else None
        self.first, self.factors = first_map(size, spec.doublings, frames)
        dims, norm = len(size), spec.generator_norm
        self.channels = spec.generator_channels(0)
        # Equivalent to the published transposed convolution of a single pixel.
        self.start = nn.Linear(inputs, self.channels * math.prod(self.first), bias=False)
        self.start_bias = nn.Parameter(torch.zeros(self.channels)) if bias else None
        self.norms = nn.ModuleList([Normed(norm, dims, self.channels, condition_size)])
        self.layers = nn.ModuleList()
        self.size = self.first
        for block, factors in enumerate(self.factors[: spec.blocks]):
            outputs = spec.generator_channels(block + 1)
            self.layers.append(doubling(self.channels, outputs, factors, self.size, upsampling=spec.upsampling, bias=bias))
            self.norms.append(Normed(norm, dims, outputs, condition_size))
            self.channels, self.size = outputs, tuple(a * b for a, b in zip(factors, self.size, strict=True))
        self.activation = activation(spec)

    def forward(self, inputs_BN: torch.Tensor, condition_BN: torch.Tensor) -> torch.Tensor:
        maps = self.start(inputs_BN).view(len(inputs_BN), -1, *self.first)
        if self.start_bias is not None:
            maps = maps + self.start_bias.view(-1, *[1] * len(self.first))
        maps = self.activation(self.norms[0](maps, condition_BN))
        for layer, norm in zip(self.layers, list(self.norms)[1:], strict=True):
            maps = self.activation(norm(layer(maps), condition_BN))
        return cast(torch.Tensor, maps)


def last_layer(trunk: Trunk, spec: ModelSpec, outputs: int, *, bias: bool = False) -> nn.Module:
    """Return the layer that maps a trunk's features to pixels."""
    if spec.last == "pointwise":
        return convolution(trunk.channels, outputs, (1,) * len(trunk.size), bias=bias)
    return doubling(trunk.channels, outputs, trunk.factors[-1], trunk.size, upsampling=spec.upsampling, bias=bias)


class Tower(nn.Module):
    """Encodes frames (B, C, H, W) or clips (B, C, T, H, W) as the small feature map that a discriminator's head reads."""

    def __init__(
        self,
        spec: ModelSpec,
        inputs: int,
        size: Size,
        *,
        of_frames: bool = False,
        first_is_normed: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        norm = spec.discriminator_norm
        layers: list[nn.Module] = []
        self.channels, self.size = inputs, size
        for level in range(levels(spec, size)):
            outputs = spec.discriminator_channels(level, of_frames=of_frames)
            layer, self.size = halving(self.channels, outputs, self.size, bias=bias or norm in ("none", "spectral"))
            layers.append(spectral(layer, norm))
            if level or first_is_normed:
                layers += normed(norm, len(size), outputs)
            layers.append(nn.LeakyReLU(SLOPE))
            self.channels = outputs
        self.layers, self.activation = nn.Sequential(*layers[:-1]), layers[-1]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.activation(self.layers(pixels)))


def levels(spec: ModelSpec, size: Size) -> int:
    """Return how often a discriminator halves a map: at least once, and until its shorter side is 4 or less."""
    shorter, num_levels = min(size[-2:]), 1
    while shorter >> num_levels > 4:
        num_levels += 1
    if spec.levels is not None:
        num_levels = spec.levels
    if shorter >> num_levels < 1:
        raise RequestError(f"levels {num_levels}: frames of {size[-2]}x{size[-1]} would be halved to nothing; expected fewer")
    return num_levels


def spectral(layer: nn.Module, norm: DiscriminatorNorm) -> nn.Module:
    """Return the layer, with spectral normalisation if ``norm`` is ``spectral``."""
    return spectral_norm(layer) if norm == "spectral" else layer


def normed(norm: DiscriminatorNorm, dims: int, channels: int) -> list[nn.Module]:
    """Return the normalisation layers of a discriminator: one or none."""
    match norm:
        case "batch":
            return [_BATCH_NORMS[dims](channels)]
        case "layer":
            return [nn.GroupNorm(1, channels)]
        case _:
            return []


def activation(spec: ModelSpec) -> nn.Module:
    return nn.ReLU() if spec.activation == "relu" else nn.LeakyReLU(SLOPE)


@torch.no_grad()
def initialise(module: nn.Module, spec: ModelSpec, *, generates: bool = False) -> None:
    """Initialise the weights of a network from torch's global generator, and set their memory format."""
    for part in module.modules():
        # Spectrally normalised layers, scales and shifts keep torch's initialisation.
        if hasattr(part, "parametrizations") or not isinstance(part, nn.modules.conv._ConvNd | nn.Linear):
            continue
        if isinstance(part, Modulation):
            continue
        if isinstance(part, TextLayer) and spec.text_std is not None:
            nn.init.normal_(part.weight, std=spec.text_std)
        elif spec.init == "torch" or (spec.init == "kaiming" and (generates or isinstance(part, nn.Linear))):
            continue
        else:
            _fill(part.weight, spec)
        if part.bias is not None:
            part.bias.zero_()
    if spec.init == "normal":
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.affine:
                part.weight.normal_(1.0, spec.init_std)
    if spec.channels_last:
        _lay_out([*module.parameters()])


def _fill(weight: torch.Tensor, spec: ModelSpec) -> None:
    match spec.init:
        case "normal":
            nn.init.normal_(weight, std=spec.init_std)
        case "xavier":
            nn.init.xavier_uniform_(weight)
        case "kaiming":
            nn.init.kaiming_normal_(weight, SLOPE)
        case "orthogonal":
            nn.init.orthogonal_(weight)


def _lay_out(parameters: Sequence[nn.Parameter]) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in parameters:
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
