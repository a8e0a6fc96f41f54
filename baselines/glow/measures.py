"""What a trained model knows: bits per dimension and nats per frame, and how many bits a label tells it. The limits of both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from baselines.glow.dequantisation import bits_per_dimension
from baselines.glow.spec import EvaluationSpec
from baselines.glow.video import LogProbabilities, Told, VideoGlow
from baselines.randomness import StepRandom

# Bits per pixel that the best flows need for MNIST's digits of 28x28 (Grathwohl et al., arXiv:1810.01367, table 2: 0.99).
_MNIST_BITS = 1.0


@dataclass
class Tally:
    """Sums over clips."""

    num_clips: int = 0
    num_later: int = 0
    """Frames after the first."""
    head_nats: float = 0.0
    tail_nats: float = 0.0
    move_nats: float = 0.0
    """Of displacements alone."""
    clip_nats: list[float] = field(default_factory=list)
    """Nats of each clip."""
    gains: list[float] = field(default_factory=list)
    """Nats that each clip's label tells."""

    def add(self, found: LogProbabilities) -> None:
        """Count log-probabilities."""
        head_B, tail_BT = found.first, found.later
        self.num_clips += len(head_B)
        self.num_later += tail_BT.numel()
        self.head_nats -= float(head_B.double().sum())
        self.tail_nats -= float(tail_BT.double().sum())
        self.move_nats -= float(found.moves.double().sum())
        self.clip_nats += (-(head_B + tail_BT.sum(dim=1))).tolist()

    def numbers(self, num_dimensions: int) -> dict[str, float]:
        """Return means over frames; ``clip_nats_error`` is the standard error of the mean over clips."""
        head, tail = self.head_nats / self.num_clips, self.tail_nats / max(self.num_later, 1)
        everything = (self.head_nats + self.tail_nats) / (self.num_clips + self.num_later)
        spread = torch.tensor(self.clip_nats).double().std().item() if self.num_clips > 1 else math.nan
        nats = {"head_bits_per_dim": head, "tail_bits_per_dim": tail, "bits_per_dim": everything}
        told = {name: float(bits_per_dimension(value, num_dimensions)) for name, value in nats.items()}
        told |= {"head_nats": head, "tail_nats": tail, "clip_nats_error": spread / math.sqrt(self.num_clips)}
        if self.move_nats:
            told["motion_bits"] = self.move_nats / max(self.num_later, 1) / math.log(2)
        if self.gains:
            told["label_bits"] = sum(self.gains) / len(self.gains) / math.log(2)
        return told


def log_probabilities(
    glow: VideoGlow, levels_BTCHW: torch.Tensor, told: Told, noises: Iterable[torch.Tensor]
) -> LogProbabilities:
    """Return log-probabilities from the mean over several draws of noise of what each says."""
    drawn = [glow.log_probabilities(levels_BTCHW, noise, told) for noise in noises]
    heads, tails = torch.stack([one.first for one in drawn]), torch.stack([one.later for one in drawn])
    many = math.log(len(drawn))
    return LogProbabilities(heads.logsumexp(dim=0) - many, tails.logsumexp(dim=0) - many, drawn[0].moves)


def label_gains(glow: VideoGlow, levels_BTCHW: torch.Tensor, told: Told, noise: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Return how many nats each clip's label tells the model about it (B,): log p(clip | label) - log mean p(clip | any label).

    At most the logarithm of the number of labels; about 0 where the model ignores them; below 0 where it is misled. It is a
    measure within one model, on one draw of noise, and so free of the spread between models.
    """
    candidates = torch.arange(num_labels, device=levels_BTCHW.device)
    gains = []
    for clip, own, drawn in zip(levels_BTCHW, told.labels, noise, strict=True):
        found = _of_each_label(glow, clip, drawn, candidates)
        gains.append(found[own] - (found.logsumexp(dim=0) - math.log(num_labels)))
    return torch.stack(gains)


def _of_each_label(glow: VideoGlow, clip_TCHW: torch.Tensor, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return a clip's log-probability under each label: of the first frame, and where the tail knows labels of all."""
    many = len(labels)
    frames = clip_TCHW if glow.model.label_in_tail else clip_TCHW[:1]
    levels = frames.expand(many, *frames.shape)
    drawn = noise[: len(frames)].expand_as(levels)
    told = Told(labels)
    if glow.model.label_in_tail:
        found = glow.log_probabilities(levels, drawn, told)
        return (found.first + found.later.sum(dim=1)).double()
    only: torch.Tensor = glow.head(levels[:, 0], drawn[:, 0], glow.head.describe(told))
    return only.double()


def limits(spec: EvaluationSpec, shape: tuple[int, int, int], num_labels: int | None) -> Mapping[str, float]:
    """Return what no model can pass: the bits that a label can tell, and about what the first frame of one digit costs.

    The latter takes 1.0 bit for each pixel of a digit of 28x28, and the logarithms of its places and kinds; smaller digits
    cost more a pixel, so for them it is below the truth. Frames after the second are certain: their limit is 0.
    """
    found = {} if num_labels is None else {"label_bits_limit": math.log2(num_labels)}
    if spec.digit_size is not None:
        places = (shape[1] - spec.digit_size + 1) * (shape[2] - spec.digit_size + 1)
        bits = _MNIST_BITS * spec.digit_size**2 + math.log2(places) + math.log2(10)
        found["head_bits_per_dim_limit"] = bits / math.prod(shape)
    return found


def some(told: Told, first: int, last: int) -> Told:
    """Return what clips first to last-1 are to show."""
    cut = {name: value[first:last] for name in ("tokens", "lengths") if (value := getattr(told, name)) is not None}
    return replace(told, labels=told.labels[first:last], **cut)


def spans(number: int, at_once: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open spans of at most ``at_once`` that cover 0 to number."""
    for first in range(0, number, at_once):
        yield first, min(first + at_once, number)


def noise_for(glow: VideoGlow, levels_BTCHW: torch.Tensor, draws: StepRandom) -> torch.Tensor:
    """Return noise of the kind that the model's dequantisation takes, shaped as the frames."""
    draw = draws.normal if glow.model.dequantisation == "variational" else draws.uniform
    return draw(*levels_BTCHW.shape)
