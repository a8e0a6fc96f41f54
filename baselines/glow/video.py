"""Likelihoods and samples of clips: a head for the first frame, a tail for each later frame, a state over earlier frames.

Shapes: B clips, T frames, C channels, H rows, W columns; N frames of any clips; K chosen later frames of each clip; V numbers
in a vector. Levels are integers stored as float32, see dequantisation.py; likelihoods are those of levels, in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from baselines.glow.context import ContextProcessor
from baselines.glow.dequantisation import dequantized
from baselines.glow.flow import FlowSpec
from baselines.glow.frame_flow import Conditioning, FrameContext, FrameFlow, Shape
from baselines.glow.labels import (
    NUM_MEANINGS,
    CaptionEncoder,
    FramePositions,
    LabelImages,
    LabelVectors,
    MeaningVectors,
)
from baselines.glow.layers import to_logits
from baselines.glow.motion import best_displacement, displaced, sample_displacement
from baselines.glow.spec import ModelSpec


class LogProbabilities(NamedTuple):
    """Log-probabilities of the frames of clips, in nats."""

    first: torch.Tensor
    """(B,)"""
    later: torch.Tensor
    """(B, K), of all later frames or of the chosen ones, each given all earlier frames; they include displacements."""
    displacement: torch.Tensor
    """(B, T-1), of displacements alone; 0 if motion is not modelled."""


@dataclass(frozen=True)
class LaterFrames:
    """The later frames of all clips, as one batch, with their contexts."""

    levels: torch.Tensor
    """(N, C, H, W)"""
    noise: torch.Tensor
    """(N, C, H, W)"""
    context: FrameContext
    displacement: torch.Tensor
    """(B, T-1), log-probabilities of displacements, of all later frames even if only some were chosen."""


class VideoGlow:
    """Head, tail and state together. ``state`` is None if later frames depend on the previous frame at most."""

    def __init__(self, model: ModelSpec, head: FrameFlow, tail: FrameFlow, state: ContextProcessor | None) -> None:
        self.model, self.head, self.tail, self.state = model, head, tail, state

    def parts(self) -> list[nn.Module]:
        return [part for part in (self.head, self.tail, self.state) if part is not None]

    def log_probabilities(
        self,
        levels_BTCHW: torch.Tensor,
        noise_BTCHW: torch.Tensor,
        conditioning: Conditioning,
        chosen_BK: torch.Tensor | None = None,
    ) -> LogProbabilities:
        """Return log-probabilities of frames given earlier ones, for all later frames or for K chosen ones.

        ``chosen_BK`` has indices of later frames, from 0.
        """
        head_context = self.head.encode(conditioning)
        first_B: torch.Tensor = self.head(levels_BTCHW[:, 0], noise_BTCHW[:, 0], head_context)
        later = self.later_frames(levels_BTCHW, noise_BTCHW, conditioning, chosen_BK)
        residual_BK = self.tail(later.levels, later.noise, later.context).view(len(first_B), -1)
        # Displacements are cheap: if frames are chosen, those of all frames are learned, and their mean is added.
        displacement = later.displacement if chosen_BK is None else later.displacement.mean(dim=1, keepdim=True)
        return LogProbabilities(first_B, residual_BK + displacement, later.displacement)

    def later_frames(
        self,
        levels_BTCHW: torch.Tensor,
        noise_BTCHW: torch.Tensor,
        conditioning: Conditioning,
        chosen_BK: torch.Tensor | None = None,
    ) -> LaterFrames:
        """Return later frames, all or the chosen ones, with the contexts of the tail."""
        num_clips, num_later = levels_BTCHW.shape[0], levels_BTCHW.shape[1] - 1
        device = levels_BTCHW.device
        if chosen_BK is None:
            chosen_BK = torch.arange(num_later, device=device).expand(num_clips, -1)
        clips_B1 = torch.arange(num_clips, device=device)[:, None]
        image_NKHW = self._context_images(self.dequantized(levels_BTCHW[:, :-1]))
        vector_BV = self.tail.encode(conditioning).vector
        vector_NV = None if vector_BV is None else vector_BV.repeat_interleave(num_later, dim=0)
        vector_NV = self.tail.with_position(vector_NV, torch.arange(num_later, device=device).repeat(num_clips))
        previous_NCHW, frames_NCHW = levels_BTCHW[:, :-1].flatten(0, 1), levels_BTCHW[:, 1:].flatten(0, 1)
        displacement_BT, expected_NCHW = levels_BTCHW.new_zeros(num_clips, num_later), None
        if self.tail.motion is not None and image_NKHW is not None:
            best_N = best_displacement(previous_NCHW, frames_NCHW, self.model.motion)
            log_probabilities_ND = self.tail.motion(image_NKHW, vector_NV)
            displacement_BT = log_probabilities_ND.gather(1, best_N[:, None]).view(num_clips, num_later)
            expected_NCHW = self.dequantized(displaced(previous_NCHW, best_N, self.model.motion))

        def choose(all_N: torch.Tensor) -> torch.Tensor:
            return all_N.view(num_clips, num_later, *all_N.shape[1:])[clips_B1, chosen_BK].flatten(0, 1)

        return LaterFrames(
            choose(frames_NCHW),
            choose(noise_BTCHW[:, 1:].flatten(0, 1)),
            tail_context(image_NKHW, vector_NV, expected_NCHW).map(choose),
            displacement_BT,
        )

    def dequantized(self, levels: torch.Tensor) -> torch.Tensor:
        """Return the middle of each level, without noise: later frames are conditioned on it, so the conditioning is exact."""
        x = dequantized(levels, 0.5, self.model.num_bits)
        return to_logits(x)[0] if self.tail.flow.is_logit else x

    def sample(
        self,
        conditioning: Conditioning,
        normal_BTD: torch.Tensor,
        uniform_BT: torch.Tensor,
        temperature: float,
        first_BCHW: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return levels (B, T, C, H, W) of clips from latents scaled by ``temperature``, optionally with given first frames.

        Uniform numbers select displacements.
        """
        if first_BCHW is None:
            first_BCHW = self.head.sample(normal_BTD[:, 0], self.head.encode(conditioning), temperature)
        conditioning_BV = self.tail.encode(conditioning).vector
        state_BSHW = None if self.state is None else self.state.start(first_BCHW)
        frames = [first_BCHW]
        for index in range(normal_BTD.shape[1] - 1):
            previous_BCHW = self.dequantized(frames[-1])
            images = [previous_BCHW] if self.model.previous_frame else []
            if self.state is not None and state_BSHW is not None:
                state_BSHW = self.state(state_BSHW, previous_BCHW, index)
                images.append(state_BSHW)
            image_BKHW = torch.cat(images, dim=1) if images else None
            positions_B = torch.full((len(first_BCHW),), index, device=first_BCHW.device)
            vector_BV = self.tail.with_position(conditioning_BV, positions_B)
            expected_BCHW = None
            if self.tail.motion is not None and image_BKHW is not None:
                log_probabilities_BD = self.tail.motion(image_BKHW, vector_BV)
                drawn_B = sample_displacement(log_probabilities_BD, uniform_BT[:, index + 1], temperature)
                expected_BCHW = self.dequantized(displaced(frames[-1], drawn_B, self.model.motion))
            context = tail_context(image_BKHW, vector_BV, expected_BCHW)
            frames.append(self.tail.sample(normal_BTD[:, index + 1], context, temperature))
        return torch.stack(frames, dim=1)

    def _context_images(self, previous_BTCHW: torch.Tensor) -> torch.Tensor | None:
        """Return the image of context of each later frame, (N, K, H, W): the previous frame and the state, if used."""
        images = [previous_BTCHW] if self.model.previous_frame else []
        if self.state is not None:
            images.append(self.state.states(previous_BTCHW).to(previous_BTCHW.dtype))
        return torch.cat(images, dim=2).flatten(0, 1) if images else None


def tail_context(
    image_NKHW: torch.Tensor | None, vector_NV: torch.Tensor | None, expected_NCHW: torch.Tensor | None
) -> FrameContext:
    """Return the context of later frames.

    If motion is modelled, the expected frame replaces the previous one in the first channels of the image, and the vector is
    left out, because it has already contributed to the displacement.
    """
    if image_NKHW is None or expected_NCHW is None:
        return FrameContext(image_NKHW, vector_NV)
    image_NKHW = torch.cat([expected_NCHW, image_NKHW[:, expected_NCHW.shape[1] :]], dim=1)
    return FrameContext(image_NKHW, None, expected_NCHW)


def build(
    shape: Shape, model: ModelSpec, head: FlowSpec, tail: FlowSpec, *, num_frames: int, num_labels: int, num_words: int
) -> VideoGlow:
    """Return a new model for clips of ``num_frames`` frames of shape (C, H, W)."""
    if model.label_of == "meaning":
        num_labels = NUM_MEANINGS
    context_channels = (shape[0] if model.previous_frame else 0) + model.state_channels
    return VideoGlow(
        model,
        FrameFlow(shape, head, model, describer=label_encoder(shape, model, num_labels, num_words)),
        FrameFlow(
            shape, tail, model, context_channels=context_channels,
            describer=label_encoder(shape, model, num_labels, num_words) if model.label_in_tail else None,
            places=FramePositions(num_frames - 1, model.number_size) if model.number_size else None,
            motion=model.motion,
        ),
        ContextProcessor(shape[0], model.state_channels, num_frames - 1) if model.state_channels else None,
    )  # fmt: skip


def label_encoder(shape: Shape, model: ModelSpec, num_labels: int, num_words: int) -> nn.Module | None:
    """Return the encoder of labels or captions, or None for a model without them."""
    match model.label:
        case "image":
            return LabelImages(num_labels, model.label_channels, *shape[1:])
        case "vector":
            is_meaning = model.label_of == "meaning"
            return MeaningVectors(model.label_size) if is_meaning else LabelVectors(num_labels, model.label_size)
        case "caption":
            return CaptionEncoder(num_words, model.label_size)
        case _:
            return None
