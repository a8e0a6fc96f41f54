"""The probability of a single frame, given its context: a Glow with dequantisation, conditioning and motion residuals.

Shapes: N frames of any clips, C channels, H rows, W columns; B clips; K channels of context; V numbers in a vector; L tokens in
a caption. Levels are integers stored as float32, see dequantisation.py; likelihoods are those of levels, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from baselines.glow.context import Pyramid
from baselines.glow.dequantisation import VariationalNoise, dequantized, log_probability, quantized
from baselines.glow.flow import Flow, FlowSpec
from baselines.glow.labels import CaptionEncoder, FramePositions, LabelImages, LabelVectors, MeaningVectors
from baselines.glow.motion import Motion
from baselines.glow.spec import ModelSpec

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Conditioning:
    """What clips are conditioned on: labels or captions."""

    labels: torch.Tensor
    """(B,) int64"""
    tokens: torch.Tensor | None = None
    """(B, L) int64"""
    lengths: torch.Tensor | None = None
    """(B,) int64"""

    def rows(self, start: int, stop: int) -> Conditioning:
        """Return the conditioning of clips ``start`` to ``stop - 1``."""
        return Conditioning(
            self.labels[start:stop],
            None if self.tokens is None else self.tokens[start:stop],
            None if self.lengths is None else self.lengths[start:stop],
        )


@dataclass(frozen=True)
class FrameContext:
    """What the flow of a frame is conditioned on."""

    image: torch.Tensor | None = None
    """(N, K, H, W)"""
    vector: torch.Tensor | None = None
    """(N, V)"""
    expected: torch.Tensor | None = None
    """(N, C, H, W), the displaced previous frame, if motion is modelled."""

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> FrameContext:
        """Apply a function to each tensor."""
        tensors = (self.image, self.vector, self.expected)
        return FrameContext(*(None if tensor is None else function(tensor) for tensor in tensors))


class FrameFlow(nn.Module):
    """The probability of frames, given images of context and the conditioning of their clips."""

    def __init__(
        self,
        shape: Shape,
        spec: FlowSpec,
        model: ModelSpec,
        *,
        context_channels: int = 0,
        describer: nn.Module | None = None,
        places: FramePositions | None = None,
        motion: int = 0,
    ) -> None:
        """``describer`` encodes the conditioning, ``places`` the position of a frame; checkpoints have these names."""
        super().__init__()
        self.num_bits, self.shape = model.num_bits, shape
        self.describer, self.places = describer, places
        context_channels += model.label_channels if isinstance(describer, LabelImages) else 0
        has_vector = isinstance(describer, LabelVectors | MeaningVectors | CaptionEncoder)
        vector_size = (model.label_size if has_vector else 0) + (model.number_size if places is not None else 0)
        self.motion = Motion(context_channels, reach=motion, vector_size=vector_size) if motion else None
        # The residual of a displaced frame does not depend on labels.
        vector_size = 0 if motion else vector_size
        self.pyramid = Pyramid(context_channels, spec.levels) if context_channels else None
        self.flow = Flow(shape, spec, context_channels=4 * context_channels, vector_size=vector_size)
        self.noise = VariationalNoise(shape[0]) if model.dequantisation == "variational" else None

    def encode(self, conditioning: Conditioning) -> FrameContext:
        """Return labels or captions as an image of context (B, K, H, W) or a vector (B, V)."""
        match self.describer:
            case LabelImages():
                return FrameContext(image=self.describer(conditioning.labels))
            case LabelVectors() | MeaningVectors():
                return FrameContext(vector=self.describer(conditioning.labels))
            case CaptionEncoder():
                return FrameContext(vector=self.describer(conditioning.tokens, conditioning.lengths))
            case _:
                return FrameContext()

    def with_position(self, vector_NV: torch.Tensor | None, positions_N: torch.Tensor) -> torch.Tensor | None:
        """Return vectors of the conditioning extended by those of the frames' positions in their clips."""
        if self.places is None:
            return vector_NV
        position_NV: torch.Tensor = self.places(positions_N)
        return position_NV if vector_NV is None else torch.cat([vector_NV, position_NV], dim=1)

    def forward(self, levels_NCHW: torch.Tensor, noise_NCHW: torch.Tensor, context: FrameContext) -> torch.Tensor:
        """Return a lower bound of the log-probabilities (N,), from one draw of noise.

        ``noise_NCHW`` is uniform in [0, 1), or standard normal for variational dequantisation. If motion is modelled, the flow
        sees the difference to the expected frame.
        """
        x_NCHW, noise_log_density_N = self.dequantized(levels_NCHW, noise_NCHW)
        x_NCHW, logdet = self.residual(x_NCHW, context.expected)
        flow_log_density_N = self.flow.log_density(x_NCHW, self.features(context), context.vector)
        log_density_N = logdet + flow_log_density_N - noise_log_density_N
        return log_probability(log_density_N, math.prod(self.shape), self.num_bits)

    def features(self, context: FrameContext) -> list[torch.Tensor] | None:
        """Return the image of context at the size of each level."""
        return None if self.pyramid is None else self.pyramid(context.image)

    def dequantized(self, levels_NCHW: torch.Tensor, noise_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return frames in [-1/2, 1/2), and the log-density (N,) of their noise."""
        if self.noise is None:
            return dequantized(levels_NCHW, noise_NCHW, self.num_bits), noise_NCHW.new_zeros(len(noise_NCHW))
        learned_NCHW, log_density_N = self.noise(dequantized(levels_NCHW, 0.5, self.num_bits), noise_NCHW)
        return dequantized(levels_NCHW, learned_NCHW, self.num_bits), log_density_N

    def residual(self, x_NCHW: torch.Tensor, expected_NCHW: torch.Tensor | None) -> tuple[torch.Tensor, float]:
        """Return the difference to expected frames, in levels, and the log-determinant; without any, the frames."""
        if expected_NCHW is None:
            return x_NCHW, 0.0
        return (x_NCHW - expected_NCHW) * (1 << self.num_bits), self.num_bits * math.log(2) * math.prod(self.shape)

    def from_residual(self, residual_NCHW: torch.Tensor, expected_NCHW: torch.Tensor | None) -> torch.Tensor:
        """Undo ``residual``."""
        return residual_NCHW if expected_NCHW is None else residual_NCHW / (1 << self.num_bits) + expected_NCHW

    def sample(self, normal_ND: torch.Tensor, context: FrameContext, temperature: float) -> torch.Tensor:
        """Return levels (N, C, H, W) from standard normal numbers (N, C*H*W)."""
        shapes = self.flow.latent_shapes()
        parts = torch.split(normal_ND, [math.prod(shape) for shape in shapes], dim=1)
        latents = [temperature * part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        residual_NCHW = self.flow.inverse(latents, self.features(context), context.vector)
        return quantized(self.from_residual(residual_NCHW, context.expected), self.num_bits)

    @torch.no_grad()
    def reconstruction_error(self, levels_NCHW: torch.Tensor, noise_NCHW: torch.Tensor, context: FrameContext) -> torch.Tensor:
        """Return the largest difference between frames in [-1/2, 1/2) and their reconstruction by the flow: a scalar."""
        x_NCHW, _ = self.dequantized(levels_NCHW, noise_NCHW)
        features = self.features(context)
        latents, _ = self.flow(self.residual(x_NCHW, context.expected)[0], features, context.vector)
        residual_NCHW = self.flow.inverse(latents, features, context.vector)
        return (self.from_residual(residual_NCHW, context.expected) - x_NCHW).abs().max()
