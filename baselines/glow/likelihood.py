"""Likelihood metrics of a trained model: bits per dimension, nats per frame, the information in labels, and their limits.

Shapes: B clips, T frames, C channels, H rows, W columns; L labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from baselines.glow.dequantisation import bits_per_dimension
from baselines.glow.frame_flow import Conditioning
from baselines.glow.spec import EvaluationSpec
from baselines.glow.video import LogProbabilities, VideoGlow
from baselines.randomness import StepRandom

# Bits per pixel that the best flows need for MNIST's digits of 28x28 (Grathwohl et al., arXiv:1810.01367, table 2: 0.99).
_MNIST_BITS = 1.0


@dataclass
class LikelihoodSums:
    """Sums of negative log-probabilities over clips."""

    num_clips: int = 0
    num_later: int = 0
    """Frames after the first."""
    head_nats: float = 0.0
    tail_nats: float = 0.0
    displacement_nats: float = 0.0
    clip_nats: list[float] = field(default_factory=list)
    """Nats of each clip."""
    label_nats: list[float] = field(default_factory=list)
    """Information of each clip's label about it, in nats."""

    def add(self, log_probabilities: LogProbabilities) -> None:
        head_B, tail_BT = log_probabilities.first, log_probabilities.later
        self.num_clips += len(head_B)
        self.num_later += tail_BT.numel()
        self.head_nats -= float(head_B.double().sum())
        self.tail_nats -= float(tail_BT.double().sum())
        self.displacement_nats -= float(log_probabilities.displacement.double().sum())
        self.clip_nats += (-(head_B + tail_BT.sum(dim=1))).tolist()

    def metrics(self, num_dimensions: int) -> dict[str, float]:
        """Return means over frames; ``clip_nats_error`` is the standard error of the mean over clips."""
        head, tail = self.head_nats / self.num_clips, self.tail_nats / max(self.num_later, 1)
        all_frames = (self.head_nats + self.tail_nats) / (self.num_clips + self.num_later)
        deviation = torch.tensor(self.clip_nats).double().std().item() if self.num_clips > 1 else math.nan
        nats = {"head_bits_per_dim": head, "tail_bits_per_dim": tail, "bits_per_dim": all_frames}
        metrics = {name: float(bits_per_dimension(value, num_dimensions)) for name, value in nats.items()}
        metrics |= {"head_nats": head, "tail_nats": tail, "clip_nats_error": deviation / math.sqrt(self.num_clips)}
        if self.displacement_nats:
            metrics["motion_bits"] = self.displacement_nats / max(self.num_later, 1) / math.log(2)
        if self.label_nats:
            metrics["label_bits"] = sum(self.label_nats) / len(self.label_nats) / math.log(2)
        return metrics


def log_probabilities(
    glow: VideoGlow, levels_BTCHW: torch.Tensor, conditioning: Conditioning, noises: Iterable[torch.Tensor]
) -> LogProbabilities:
    """Return log-probabilities from the mean probability over several draws of noise."""
    draws = [glow.log_probabilities(levels_BTCHW, noise_BTCHW, conditioning) for noise_BTCHW in noises]
    first, later = torch.stack([draw.first for draw in draws]), torch.stack([draw.later for draw in draws])
    log_count = math.log(len(draws))
    return LogProbabilities(first.logsumexp(dim=0) - log_count, later.logsumexp(dim=0) - log_count, draws[0].displacement)


def label_information(
    glow: VideoGlow, levels_BTCHW: torch.Tensor, conditioning: Conditioning, noise_BTCHW: torch.Tensor, num_labels: int
) -> torch.Tensor:
    """Return the information of each clip's label about it (B,), in nats: log p(clip | label) - log mean p(clip | any label).

    At most the logarithm of the number of labels; about 0 if the model ignores them; below 0 if they mislead it. Both terms
    come from one model and one draw of noise, so the spread between models does not affect it.
    """
    labels_L = torch.arange(num_labels, device=levels_BTCHW.device)
    information = []
    for levels_TCHW, label, noise_TCHW in zip(levels_BTCHW, conditioning.labels, noise_BTCHW, strict=True):
        by_label_L = _by_label(glow, levels_TCHW, noise_TCHW, labels_L)
        information.append(by_label_L[label] - (by_label_L.logsumexp(dim=0) - math.log(num_labels)))
    return torch.stack(information)


def _by_label(glow: VideoGlow, levels_TCHW: torch.Tensor, noise_TCHW: torch.Tensor, labels_L: torch.Tensor) -> torch.Tensor:
    """Return a clip's log-probability under each label: of all frames if the tail is conditioned on it, else of the first."""
    frames_TCHW = levels_TCHW if glow.model.label_in_tail else levels_TCHW[:1]
    levels_LTCHW = frames_TCHW.expand(len(labels_L), *frames_TCHW.shape)
    noise_LTCHW = noise_TCHW[: len(frames_TCHW)].expand_as(levels_LTCHW)
    conditioning = Conditioning(labels_L)
    if glow.model.label_in_tail:
        result = glow.log_probabilities(levels_LTCHW, noise_LTCHW, conditioning)
        return (result.first + result.later.sum(dim=1)).double()
    first_L: torch.Tensor = glow.head(levels_LTCHW[:, 0], noise_LTCHW[:, 0], glow.head.encode(conditioning))
    return first_L.double()


def limits(spec: EvaluationSpec, shape: tuple[int, int, int], num_labels: int | None) -> Mapping[str, float]:
    """Return bounds for any model: the bits that a label can carry, and roughly the cost of the first frame of one digit.

    The latter is 1.0 bit per pixel of a digit of 28x28, plus the logarithms of its positions and kinds; smaller digits cost
    more per pixel, so for them it is too low. Frames after the second are certain: their limit is 0.
    """
    bounds = {} if num_labels is None else {"label_bits_limit": math.log2(num_labels)}
    if spec.digit_size is not None:
        num_positions = (shape[1] - spec.digit_size + 1) * (shape[2] - spec.digit_size + 1)
        bits = _MNIST_BITS * spec.digit_size**2 + math.log2(num_positions) + math.log2(10)
        bounds["head_bits_per_dim_limit"] = bits / math.prod(shape)
    return bounds


def spans(size: int, max_length: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open spans of at most ``max_length`` that cover 0 to ``size``."""
    for start in range(0, size, max_length):
        yield start, min(start + max_length, size)


def noise_for(glow: VideoGlow, levels_BTCHW: torch.Tensor, random: StepRandom) -> torch.Tensor:
    """Return noise of the kind that the model's dequantisation takes, (B, T, C, H, W)."""
    draw = random.normal if glow.model.dequantisation == "variational" else random.uniform
    return draw(*levels_BTCHW.shape)
