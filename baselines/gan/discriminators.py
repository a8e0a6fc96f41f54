"""Is it real, and does it go with the sentence? The discriminators of TGANs-C, VGAN and DCGAN.

TGANs-C: Pan et al. 2017, arXiv:1804.08264, section 3.2: D0 of clips, D1 of frames, D2 of motion. VGAN: Vondrick et al. 2016,
arXiv:1609.02612. DCGAN: Radford et al. 2016, arXiv:1511.06434; with sentences, GAN-CLS: Reed et al. 2016, arXiv:1605.05396.
B clips, C channels, T frames, H rows, W columns, S numbers of a sentence, P pairs of frames, N frames or differences.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from baselines.gan.blocks import SLOPE, Shape, TextLayer, Tower, convolution, initialise, normed, spectral
from baselines.gan.spec import ModelSpec
from t2vdata.errors import RequestError

Maps = dict[str, torch.Tensor]
"""What each discriminator's head reads, (B, N, channels, ...): N is 1 for clips."""
_DEVIATION_GROUP = 8


class SideBySide(nn.Module):
    """The sentence beside every place of the map, one convolution over both, and one over what comes out: (B,) scores."""

    def __init__(self, spec: ModelSpec, tower: Tower, text_size: int, *, deepen: bool = False, outputs: int = 1) -> None:
        """``deepen`` puts a layer before the sentence. Of two ``outputs`` the score is the difference, as a softmax has it."""
        super().__init__()
        norm, dims, channels = spec.discriminator_norm, len(tower.size), tower.channels
        point, bias = (1,) * dims, norm in ("none", "spectral")

        def mixing(inputs: int) -> nn.Sequential:
            layer = spectral(convolution(inputs, channels, point, bias=bias), norm)
            return nn.Sequential(layer, *normed(norm, dims, channels), nn.LeakyReLU(SLOPE))

        self.deepen = mixing(channels) if deepen else None
        self.text = self.join = None
        if text_size:
            brought = spectral(TextLayer(text_size, spec.text_features), norm)
            self.text = nn.Sequential(brought, *normed(norm, 1, spec.text_features), nn.LeakyReLU(SLOPE))
            self.join = mixing(channels + spec.text_features)
        if spec.head == "whole":
            kernel, stride = tower.size, tower.size
        else:
            kernel = stride = tuple(min(2, side) for side in tower.size)
        self.last = spectral(convolution(channels, outputs, kernel, stride=stride, bias=bias or outputs > 1), norm)

    def forward(self, maps: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        if self.deepen is not None:
            maps = self.deepen(maps)
        if self.text is not None and self.join is not None and text_BS is not None:
            beside = self.text(text_BS).view(len(maps), -1, *[1] * (maps.dim() - 2)).expand(-1, -1, *maps.shape[2:])
            maps = self.join(torch.cat([maps, beside], 1))
        logits = self.last(maps).flatten(2).mean(2)
        return cast(torch.Tensor, logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0])


class Projection(nn.Module):
    """A score of the map alone, and the inner product of map and sentence (Miyato and Koyama 2018, eq. 3): (B,) scores."""

    def __init__(self, spec: ModelSpec, tower: Tower, text_size: int, *, batch_deviation: bool = False) -> None:
        super().__init__()
        norm, self._deviation = spec.discriminator_norm, batch_deviation
        flat = tower.channels * math.prod(tower.size) + batch_deviation
        self.hidden = None if spec.hidden is None else spectral(nn.Linear(flat, spec.hidden), norm)
        size = tower.channels if spec.hidden is None else spec.hidden
        self.alone = spectral(nn.Linear(size, 1), norm)
        self.text = spectral(TextLayer(text_size, size, bias=False), norm) if text_size else None
        matches = spec.match is not None and text_size
        self.match_map = nn.Linear(size, spec.match) if spec.match is not None and matches else None
        self.match_text = TextLayer(text_size, spec.match) if spec.match is not None and matches else None

    def features(self, maps: torch.Tensor) -> torch.Tensor:
        """Return phi(x) of the paper, (B, features)."""
        if self.hidden is None:
            return maps.flatten(2).sum(2)
        flat = maps.flatten(1)
        flat = torch.cat([flat, batch_deviation(flat)], 1) if self._deviation else flat
        return functional.leaky_relu(self.hidden(flat), SLOPE)

    def likeness(self, maps: torch.Tensor, texts_KS: torch.Tensor) -> torch.Tensor:
        """Return how much each map goes with each of K sentences, (B, K): a cosine, from -1 to 1."""
        if self.match_map is None or self.match_text is None:
            raise RequestError("discriminators that match nothing; set model.match, such as 64")
        wanted = functional.normalize(self.match_text(texts_KS), dim=1)
        return functional.normalize(self.match_map(self.features(maps)), dim=1) @ wanted.T

    def forward(self, maps: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        features = self.features(maps)
        scores = self.alone(features)[:, 0]
        if self.text is not None and text_BS is not None:
            scores = scores + (self.text(text_BS) * features).sum(1)
        return cast(torch.Tensor, scores)


def batch_deviation(features_BN: torch.Tensor) -> torch.Tensor:
    """Return how much the clips of each group of 8 differ, (B, 1): the mean standard deviation of their features."""
    number = len(features_BN)
    group = _DEVIATION_GROUP if number % _DEVIATION_GROUP == 0 else number
    deviations = (features_BN.view(-1, group, features_BN.shape[1]).var(1, correction=0) + 1e-8).sqrt().mean(1)
    return deviations.repeat_interleave(group).unsqueeze(1)


class Discriminators(nn.Module):
    """All discriminators of a spec. What they see of clips and what they make of it with a sentence are two calls, so that the
    same clip is judged with a caption of its own and another's for little more than one."""

    def __init__(self, spec: ModelSpec, shape: Shape, text_size: int) -> None:
        super().__init__()
        self.spec, self.frames = spec, shape[1]
        size = shape[1:]
        self.clips: Tower | None = None
        self.pictures: Tower | None = None
        heads: dict[str, nn.Module] = {}
        match spec.discriminator:
            case "dcgan":
                if self.frames != 1:
                    raise RequestError(
                        f"discriminator 'dcgan' sees pictures, the clips have {self.frames} frames; set load.num_frames=1"
                    )
                self.pictures = Tower(spec, shape[0], size[1:], of_frames=True, first_is_normed=False)
                heads["frame"] = _head(spec, self.pictures, text_size)
            case "vgan":
                self.clips = Tower(spec, shape[0], size, first_is_normed=False, bias=True)
                heads["video"] = _head(spec, self.clips, text_size, outputs=2)
            case "tgansc":
                heads = self._tgansc(spec, shape, text_size)
        self.heads = nn.ModuleDict(heads)
        initialise(self, spec)

    def _tgansc(self, spec: ModelSpec, shape: Shape, text_size: int) -> dict[str, nn.Module]:
        """Return the heads of those of the three that are on, having made their towers."""
        channels, *size = shape
        heads: dict[str, nn.Module] = {}
        if spec.motion and self.frames < 2:
            raise RequestError(
                f"the motion discriminator compares frames, the clips have {self.frames}; set model.motion=false"
            )
        if spec.video:
            inputs, seen = (channels, tuple(size)) if spec.volume else (channels * self.frames, tuple(size[1:]))
            # Batch normalisation after the first layer too: so say the published numbers of parameters.
            self.clips = Tower(spec, inputs, seen)
            heads["video"] = _head(spec, self.clips, text_size, batch_deviation=spec.batch_deviation)
        if spec.frame or spec.motion:
            self.pictures = Tower(spec, channels, tuple(size[1:]), of_frames=True)
            heads |= {name: _head(spec, self.pictures, text_size, deepen=True)
                      for name in ("frame", "motion") if getattr(spec, name)}  # fmt: skip
        return heads

    @property
    def names(self) -> list[str]:
        """Which discriminators there are: ``video``, ``frame``, ``motion``."""
        return list(self.heads)

    @property
    def num_pairs(self) -> int | None:
        """How many pairs of frames of a clip are looked at; None is all frames, or none."""
        return self.spec.pairs if self.spec.discriminator == "tgansc" and self.pictures is not None else None

    def forward(self, video: torch.Tensor, text_BS: torch.Tensor | None, pairs_BP: torch.Tensor | None = None) -> Maps:
        return self.scores(self.maps(video, pairs_BP), text_BS)

    def maps(self, video: torch.Tensor, pairs_BP: torch.Tensor | None = None) -> Maps:
        """Return what the heads read of clips (B, C, T, H, W) from -1 to 1.

        ``pairs_BP`` int64, 0 to T - 2, are the first frames of the pairs that ``pairs`` asks for.
        """
        seen: Maps = {}
        if self.clips is not None:
            seen["video"] = self.clips(video if self.spec.volume else video.flatten(1, 2)).unsqueeze(1)
        if self.pictures is not None:
            frames_BNCHW = video.transpose(1, 2) if pairs_BP is None else _picked(video, pairs_BP)
            bare = self._frame_maps(self.pictures.layers, frames_BNCHW)
            maps = self.pictures.activation(bare)
            if "frame" in self.heads:
                seen["frame"] = maps
            if "motion" in self.heads:
                moving = bare if self.spec.motion_before_activation else maps
                seen["motion"] = moving.diff(dim=1) if pairs_BP is None else moving[:, 1::2] - moving[:, ::2]
        return seen

    def frame_maps(self, frames_BNCHW: torch.Tensor) -> torch.Tensor:
        """Return m(f) of frames, (B, N, channels, rows, columns): TGANs-C's frame map, which D1 and D2 share."""
        if self.pictures is None:
            raise RequestError("no frame maps without a frame or motion discriminator; set model.frame=true")
        return self._frame_maps(self.pictures, frames_BNCHW)

    @staticmethod
    def _frame_maps(network: nn.Module, frames_BNCHW: torch.Tensor) -> torch.Tensor:
        maps = cast(torch.Tensor, network(frames_BNCHW.flatten(0, 1)))
        return maps.view(*frames_BNCHW.shape[:2], *maps.shape[1:])

    def scores(self, maps: Maps, text_BS: torch.Tensor | None) -> Maps:
        """Return the logits of each discriminator, (B, N): of the clip, of each frame, of each difference."""
        return {name: self._judged(name, seen, text_BS) for name, seen in maps.items()}

    def likenesses(self, maps: Maps, texts_KS: torch.Tensor) -> Maps:
        """Return how much clips and frames go with each of K sentences, (B, N, K) from -1 to 1. Differences show no digit."""
        return {name: cast(Projection, self.heads[name]).likeness(seen.flatten(0, 1), texts_KS).view(*seen.shape[:2], -1)
                for name, seen in maps.items() if name != "motion"}  # fmt: skip

    def _judged(self, name: str, seen: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        number = seen.shape[1]
        sentences = None if text_BS is None else text_BS.repeat_interleave(number, 0)
        return cast(torch.Tensor, self.heads[name](seen.flatten(0, 1), sentences).unflatten(0, (-1, number)))


def _head(
    spec: ModelSpec, tower: Tower, text_size: int, *, deepen: bool = False, outputs: int = 1, batch_deviation: bool = False
) -> nn.Module:
    if spec.condition == "projection":
        return Projection(spec, tower, text_size, batch_deviation=batch_deviation)
    return SideBySide(spec, tower, text_size, deepen=deepen, outputs=outputs)


def _picked(video: torch.Tensor, pairs_BP: torch.Tensor) -> torch.Tensor:
    """Return both frames of each pair, one after the other: (B, 2P, C, H, W)."""
    places_BN = torch.stack([pairs_BP, pairs_BP + 1], 2).flatten(1)
    return video.transpose(1, 2)[torch.arange(len(video), device=video.device).unsqueeze(1), places_BN]


def for_penalty(scores_BN: torch.Tensor) -> torch.Tensor:
    """Return a number for each clip, (B,), of scores (B, N) of its frames.

    The norm of its gradient in the clip is the root mean square of what it is for each frame by itself.
    """
    return scores_BN.sum(1) / math.sqrt(scores_BN.shape[1])


def temporal_difference(maps_BNCHW: torch.Tensor) -> torch.Tensor:
    """Return TGANs-C's temporal coherence constraint: the mean squared difference of neighbouring frame maps."""
    return maps_BNCHW.diff(dim=1).square().mean()
