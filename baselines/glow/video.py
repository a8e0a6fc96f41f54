"""Likelihoods and samples of clips: a head for the first frame, a tail for each later one, a state of those before.

B clips, T frames, C channels, H rows, W columns; N frames of any clips; V numbers in a label's vector. Levels are whole numbers
as float32, see dequantisation.py; all likelihoods are of levels, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from baselines.glow.context import ContextProcessor, Pyramid
from baselines.glow.dequantisation import VariationalNoise, at_level, log_probability, place
from baselines.glow.flow import Flow, FlowSpec
from baselines.glow.labels import NUM_MEANINGS, LabelImages, LabelVectors, MeaningVectors, Places, Sentences
from baselines.glow.layers import spread
from baselines.glow.motion import Motion, displaced, drawn, nearest
from baselines.glow.spec import ModelSpec

Shape = tuple[int, int, int]


class LogProbabilities(NamedTuple):
    """Of the frames of clips, in nats."""

    first: torch.Tensor
    """(B,)"""
    later: torch.Tensor
    """(B, K), of all later frames or those chosen, each given all before; displacements are in it."""
    moves: torch.Tensor
    """(B, T-1), of displacements alone; 0 where motion is not modelled."""


@dataclass(frozen=True)
class Known:
    """What is known of frames."""

    context: torch.Tensor | None = None
    """(N, K, H, W)"""
    vector: torch.Tensor | None = None
    """(N, V)"""
    expected: torch.Tensor | None = None
    """(N, C, H, W), the frame before, displaced, where motion is modelled."""

    def of(self, some: Callable[[torch.Tensor], torch.Tensor]) -> Known:
        """Return what is known of some of the frames."""
        return Known(*(None if one is None else some(one) for one in (self.context, self.vector, self.expected)))


@dataclass(frozen=True)
class Later:
    """Later frames of all clips side by side, and what is known of each."""

    levels: torch.Tensor
    """(N, C, H, W)"""
    noise: torch.Tensor
    """(N, C, H, W)"""
    known: Known
    moves: torch.Tensor
    """(B, T-1), log-probabilities of displacements; of all later frames, also where some were chosen."""


@dataclass(frozen=True)
class Told:
    """What clips are to show."""

    labels: torch.Tensor
    """(B,) int64"""
    tokens: torch.Tensor | None = None
    """(B, L) int64"""
    lengths: torch.Tensor | None = None
    """(B,) int64"""


class FrameFlow(nn.Module):
    """The probability of a frame, given an image of context and what its clip shows."""

    def __init__(
        self,
        shape: Shape,
        spec: FlowSpec,
        model: ModelSpec,
        *,
        context: int = 0,
        describer: nn.Module | None = None,
        places: Places | None = None,
        motion: int = 0,
    ) -> None:
        super().__init__()
        self.num_bits, self.shape = model.num_bits, shape
        self.describer, self.places = describer, places
        context += model.label_channels if isinstance(describer, LabelImages) else 0
        vector = model.label_size if isinstance(describer, LabelVectors | MeaningVectors | Sentences) else 0
        vector += model.number_size if places is not None else 0
        self.motion = Motion(context, reach=motion, vector=vector) if motion else None
        # What is left of a displaced frame is no matter of labels.
        vector = 0 if motion else vector
        self.pyramid = Pyramid(context, spec.levels) if context else None
        self.flow = Flow(shape, spec, context=4 * context, vector=vector)
        self.noise = VariationalNoise(shape[0]) if model.dequantisation == "variational" else None

    def describe(self, told: Told) -> Known:
        """Return what the labels or captions are to this flow: an image of context (B, K, H, W) or a vector (B, V)."""
        match self.describer:
            case LabelImages():
                return Known(context=self.describer(told.labels))
            case LabelVectors() | MeaningVectors():
                return Known(vector=self.describer(told.labels))
            case Sentences():
                return Known(vector=self.describer(told.tokens, told.lengths))
            case _:
                return Known()

    def placed(self, vector_NV: torch.Tensor | None, numbers_N: torch.Tensor) -> torch.Tensor | None:
        """Return what a flow knows of frames by vectors: the labels', and those of their places in the clip."""
        if self.places is None:
            return vector_NV
        found: torch.Tensor = self.places(numbers_N)
        return found if vector_NV is None else torch.cat([vector_NV, found], dim=1)

    def forward(self, levels_NCHW: torch.Tensor, noise: torch.Tensor, known: Known) -> torch.Tensor:
        """Return log-probabilities (N,), at least: what one draw of noise says.

        ``noise`` is uniform in [0, 1), or for variational dequantisation standard normal, and shaped as the frames are. The
        flow sees by what frames differ from expected ones.
        """
        x, paid = self.continuous(levels_NCHW, noise)
        x, gain = self.left(x, known.expected)
        density = gain + self.flow.log_density(x, self.features(known), known.vector) - paid
        return log_probability(density, math.prod(self.shape), self.num_bits)

    def features(self, known: Known) -> list[torch.Tensor] | None:
        """Return what is known as an image, at the size of each level."""
        return None if self.pyramid is None else self.pyramid(known.context)

    def continuous(self, levels_NCHW: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return frames in [-1/2, 1/2), and the log-density (N,) of their noise."""
        if self.noise is None:
            return place(levels_NCHW, noise, self.num_bits), noise.new_zeros(len(noise))
        learned, log_density = self.noise(place(levels_NCHW, 0.5, self.num_bits), noise)
        return place(levels_NCHW, learned, self.num_bits), log_density

    def left(self, x: torch.Tensor, expected: torch.Tensor | None) -> tuple[torch.Tensor, float]:
        """Return by how many levels frames differ from expected ones, and the log-determinant; without any, the frames."""
        if expected is None:
            return x, 0.0
        return (x - expected) * (1 << self.num_bits), self.num_bits * math.log(2) * math.prod(self.shape)

    def whole(self, x: torch.Tensor, expected: torch.Tensor | None) -> torch.Tensor:
        """Undo ``left``."""
        return x if expected is None else x / (1 << self.num_bits) + expected

    def sample(self, normal: torch.Tensor, known: Known, temperature: float) -> torch.Tensor:
        """Return levels (N, C, H, W) from standard normal numbers (N, C*H*W)."""
        shapes = self.flow.latent_shapes()
        parts = torch.split(normal, [math.prod(shape) for shape in shapes], dim=1)
        latents = [temperature * part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        x = self.whole(self.flow.inverse(latents, self.features(known), known.vector), known.expected)
        return at_level(x, self.num_bits).clamp(0, (1 << self.num_bits) - 1)

    @torch.no_grad()
    def reconstruction_error(self, levels_NCHW: torch.Tensor, noise: torch.Tensor, known: Known) -> torch.Tensor:
        """Return by how much frames in [-1/2, 1/2) differ at most from what the flow makes of their latents: a scalar."""
        x, _ = self.continuous(levels_NCHW, noise)
        features = self.features(known)
        latents, _ = self.flow(self.left(x, known.expected)[0], features, known.vector)
        return (self.whole(self.flow.inverse(latents, features, known.vector), known.expected) - x).abs().max()


class VideoGlow:
    """The three parts together. ``state`` is None where nothing is carried but, at most, the previous frame."""

    def __init__(self, model: ModelSpec, head: FrameFlow, tail: FrameFlow, state: ContextProcessor | None) -> None:
        self.model, self.head, self.tail, self.state = model, head, tail, state

    def parts(self) -> list[nn.Module]:
        return [part for part in (self.head, self.tail, self.state) if part is not None]

    def log_probabilities(
        self, levels_BTCHW: torch.Tensor, noise_BTCHW: torch.Tensor, told: Told, chosen_BK: torch.Tensor | None = None
    ) -> LogProbabilities:
        """Return log-probabilities of frames given those before, of all or of K chosen later ones.

        ``chosen_BK`` counts later frames from 0.
        """
        first: torch.Tensor = self.head(levels_BTCHW[:, 0], noise_BTCHW[:, 0], self.head.describe(told))
        later = self.later(levels_BTCHW, noise_BTCHW, told, chosen_BK)
        left = self.tail(later.levels, later.noise, later.known).view(len(first), -1)
        # A displacement is cheap: where some frames were chosen, those of all frames are learned, and count by their mean.
        counted = later.moves if chosen_BK is None else later.moves.mean(dim=1, keepdim=True)
        return LogProbabilities(first, left + counted, later.moves)

    def later(
        self, levels_BTCHW: torch.Tensor, noise_BTCHW: torch.Tensor, told: Told, chosen_BK: torch.Tensor | None = None
    ) -> Later:
        """Return later frames, all or those chosen, with what the tail knows of them."""
        number, num_later = levels_BTCHW.shape[0], levels_BTCHW.shape[1] - 1
        if chosen_BK is None:
            chosen_BK = torch.arange(num_later, device=levels_BTCHW.device).expand(number, -1)
        rows = torch.arange(number, device=levels_BTCHW.device)[:, None]
        known = self.seen(levels_BTCHW[:, :-1])
        contexts = [known] if self.model.previous_frame else []
        if self.state is not None:
            contexts.append(self.state.states(known).to(known.dtype))
        context = torch.cat(contexts, dim=2).flatten(0, 1) if contexts else None
        described = self.tail.describe(told).vector
        each = None if described is None else described.repeat_interleave(num_later, dim=0)
        vector = self.tail.placed(each, torch.arange(num_later, device=known.device).repeat(number))
        moves, expected = known.new_zeros(number, num_later), None
        if self.tail.motion is not None and context is not None:
            before = levels_BTCHW[:, :-1].flatten(0, 1)
            found = nearest(before, levels_BTCHW[:, 1:].flatten(0, 1), self.model.motion)
            moves = self.tail.motion(context, vector).gather(1, found[:, None]).view(number, num_later)
            expected = self.seen(displaced(before, found, self.model.motion))

        def of_chosen(whole_N: torch.Tensor) -> torch.Tensor:
            return whole_N.view(number, num_later, *whole_N.shape[1:])[rows, chosen_BK].flatten(0, 1)

        return Later(
            of_chosen(levels_BTCHW[:, 1:].flatten(0, 1)),
            of_chosen(noise_BTCHW[:, 1:].flatten(0, 1)),
            displaced_known(context, vector, expected).of(of_chosen),
            moves,
        )

    def seen(self, levels: torch.Tensor) -> torch.Tensor:
        """Return frames as later ones see them: the middle of each level, without noise, so that they condition exactly."""
        places = place(levels, 0.5, self.model.num_bits)
        return spread(places)[0] if self.tail.flow.is_logit else places

    def sample(
        self,
        told: Told,
        normal_BTD: torch.Tensor,
        uniform_BT: torch.Tensor,
        temperature: float,
        first_BCHW: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return levels (B, T, C, H, W) of clips whose latents are ``temperature`` times these; first frames may be given.

        Uniform numbers choose displacements.
        """
        head = self.head.describe(told)
        frame = self.head.sample(normal_BTD[:, 0], head, temperature) if first_BCHW is None else first_BCHW
        described = self.tail.describe(told).vector
        state = None if self.state is None else self.state.start(frame)
        made = [frame]
        for number in range(1, normal_BTD.shape[1]):
            known = self.seen(frame)
            contexts = [known] if self.model.previous_frame else []
            if self.state is not None and state is not None:
                state = self.state(state, known, number - 1)
                contexts.append(state)
            context = torch.cat(contexts, dim=1) if contexts else None
            vector = self.tail.placed(described, torch.full((len(frame),), number - 1, device=frame.device))
            expected = None
            if self.tail.motion is not None and context is not None:
                found = drawn(self.tail.motion(context, vector), uniform_BT[:, number], temperature)
                expected = self.seen(displaced(frame, found, self.model.motion))
            frame = self.tail.sample(normal_BTD[:, number], displaced_known(context, vector, expected), temperature)
            made.append(frame)
        return torch.stack(made, dim=1)


def displaced_known(context: torch.Tensor | None, vector: torch.Tensor | None, expected: torch.Tensor | None) -> Known:
    """Return what a flow knows of later frames: where motion is modelled, of displaced ones.

    The first channels of context, the frame before, are then that frame where it has moved to, and labels have had their say.
    """
    if context is None or expected is None:
        return Known(context, vector)
    return Known(torch.cat([expected, context[:, expected.shape[1] :]], dim=1), None, expected)


def build(
    shape: Shape, model: ModelSpec, head: FlowSpec, tail: FlowSpec, *, num_frames: int, num_labels: int, num_words: int
) -> VideoGlow:
    """Return a new model for clips of ``num_frames`` frames (C, H, W)."""
    if model.label_of == "meaning":
        num_labels = NUM_MEANINGS
    context = (shape[0] if model.previous_frame else 0) + model.state_channels
    return VideoGlow(
        model,
        FrameFlow(shape, head, model, describer=_describer(shape, model, num_labels, num_words)),
        FrameFlow(
            shape, tail, model, context=context,
            describer=_describer(shape, model, num_labels, num_words) if model.label_in_tail else None,
            places=Places(num_frames - 1, model.number_size) if model.number_size else None,
            motion=model.motion,
        ),
        ContextProcessor(shape[0], model.state_channels, num_frames - 1) if model.state_channels else None,
    )  # fmt: skip


def _describer(shape: Shape, model: ModelSpec, num_labels: int, num_words: int) -> nn.Module | None:
    match model.label:
        case "image":
            return LabelImages(num_labels, model.label_channels, *shape[1:])
        case "vector":
            is_meaning = model.label_of == "meaning"
            return MeaningVectors(model.label_size) if is_meaning else LabelVectors(num_labels, model.label_size)
        case "caption":
            return Sentences(num_words, model.label_size)
        case _:
            return None
