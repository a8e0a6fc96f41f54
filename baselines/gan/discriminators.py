"""The discriminators of TGANs-C, VGAN and DCGAN: is a clip real, and does it match its sentence?

TGANs-C: Pan et al. 2017, arXiv:1804.08264, section 3.2: D0 of clips, D1 of frames, D2 of motion. VGAN: Vondrick et al. 2016,
arXiv:1609.02612. DCGAN: Radford et al. 2016, arXiv:1511.06434; with sentences, GAN-CLS: Reed et al. 2016, arXiv:1605.05396.
B clips, C channels, T frames, H rows, W columns, S sentence features, K sentences, P pairs of frames, N frames or differences.
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
"""{discriminator: feature maps (B, N, channels, ...)}, the input of its head; N is 1 for clips."""
_DEVIATION_GROUP = 8


class SideBySide(nn.Module):
    """Concatenation head: the sentence is repeated at every position of the map, followed by two convolutions: (B,) scores."""

    def __init__(self, spec: ModelSpec, tower: Tower, text_size: int, *, deepen: bool = False, outputs: int = 1) -> None:
        """``deepen`` adds a layer before the sentence. With two ``outputs`` the score is their difference, as in a softmax."""
        super().__init__()
        norm, dims, channels = spec.discriminator_norm, len(tower.size), tower.channels
        point, bias = (1,) * dims, norm in ("none", "spectral")

        def mixing(inputs: int) -> nn.Sequential:
            layer = spectral(convolution(inputs, channels, point, bias=bias), norm)
            return nn.Sequential(layer, *normed(norm, dims, channels), nn.LeakyReLU(SLOPE))

        self.deepen = mixing(channels) if deepen else None
        self.text = self.join = None
        if text_size:
            projected = spectral(TextLayer(text_size, spec.text_features), norm)
            self.text = nn.Sequential(projected, *normed(norm, 1, spec.text_features), nn.LeakyReLU(SLOPE))
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
            text_maps = self.text(text_BS).view(len(maps), -1, *[1] * (maps.dim() - 2)).expand(-1, -1, *maps.shape[2:])
            maps = self.join(torch.cat([maps, text_maps], 1))
        logits = self.last(maps).flatten(2).mean(2)
        return cast(torch.Tensor, logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0])


class Projection(nn.Module):
    """Projection head: an unconditional score plus the inner product of map and sentence: (B,) scores.

    Miyato and Koyama 2018, arXiv:1802.05637, eq. 3.
    """

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

    def similarity(self, maps: torch.Tensor, texts_KS: torch.Tensor) -> torch.Tensor:
        """Return the cosine similarity of each map with each of K sentences: (B, K), -1 to 1."""
        if self.match_map is None or self.match_text is None:
            raise RequestError("these discriminators have no matching layers; set model.match, such as 64")
        texts = functional.normalize(self.match_text(texts_KS), dim=1)
        return functional.normalize(self.match_map(self.features(maps)), dim=1) @ texts.T

    def forward(self, maps: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        features = self.features(maps)
        scores = self.alone(features)[:, 0]
        if self.text is not None and text_BS is not None:
            scores = scores + (self.text(text_BS) * features).sum(1)
        return cast(torch.Tensor, scores)


def batch_deviation(features_BN: torch.Tensor) -> torch.Tensor:
    """Return the mean standard deviation of the features within each group of 8 clips: (B, 1)."""
    num_clips = len(features_BN)
    group = _DEVIATION_GROUP if num_clips % _DEVIATION_GROUP == 0 else num_clips
    deviations = (features_BN.view(-1, group, features_BN.shape[1]).var(1, correction=0) + 1e-8).sqrt().mean(1)
    return deviations.repeat_interleave(group).unsqueeze(1)


class Discriminators(nn.Module):
    """All discriminators of a spec.

    ``maps`` encodes clips, ``scores`` joins the maps with sentences: scoring a clip with its own caption and with a mismatched
    one costs little more than scoring it once.
    """

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
                        f"discriminator 'dcgan' takes pictures, but clips have {self.frames} frames; set load.num_frames=1"
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
        """Make the towers of the enabled discriminators of TGANs-C and return their heads."""
        channels, *size = shape
        heads: dict[str, nn.Module] = {}
        if spec.motion and self.frames < 2:
            raise RequestError(
                f"the motion discriminator compares frames, but clips have {self.frames}; set model.motion=false"
            )
        if spec.video:
            inputs, input_size = (channels, tuple(size)) if spec.volume else (channels * self.frames, tuple(size[1:]))
            # Batch normalisation after the first layer too: the published parameter counts include it.
            self.clips = Tower(spec, inputs, input_size)
            heads["video"] = _head(spec, self.clips, text_size, batch_deviation=spec.batch_deviation)
        if spec.frame or spec.motion:
            self.pictures = Tower(spec, channels, tuple(size[1:]), of_frames=True)
            heads |= {name: _head(spec, self.pictures, text_size, deepen=True)
                      for name in ("frame", "motion") if getattr(spec, name)}  # fmt: skip
        return heads

    @property
    def names(self) -> list[str]:
        """Names of the enabled discriminators: ``video``, ``frame``, ``motion``."""
        return list(self.heads)

    @property
    def num_pairs(self) -> int | None:
        """Pairs of frames sampled from each clip; None if all frames are used, or none."""
        return self.spec.pairs if self.spec.discriminator == "tgansc" and self.pictures is not None else None

    def forward(self, video: torch.Tensor, text_BS: torch.Tensor | None, pairs_BP: torch.Tensor | None = None) -> Maps:
        return self.scores(self.maps(video, pairs_BP), text_BS)

    def maps(self, video: torch.Tensor, pairs_BP: torch.Tensor | None = None) -> Maps:
        """Encode clips (B, C, T, H, W), -1 to 1, as the feature maps that the heads score.

        ``pairs_BP`` int64, 0 to T - 2, are the first frames of the sampled pairs; see ``ModelSpec.pairs``.
        """
        maps_by_name: Maps = {}
        if self.clips is not None:
            maps_by_name["video"] = self.clips(video if self.spec.volume else video.flatten(1, 2)).unsqueeze(1)
        if self.pictures is not None:
            frames_BNCHW = video.transpose(1, 2) if pairs_BP is None else _frames_of_pairs(video, pairs_BP)
            bare = self._frame_maps(self.pictures.layers, frames_BNCHW)
            maps = self.pictures.activation(bare)
            if "frame" in self.heads:
                maps_by_name["frame"] = maps
            if "motion" in self.heads:
                moving = bare if self.spec.motion_before_activation else maps
                maps_by_name["motion"] = moving.diff(dim=1) if pairs_BP is None else moving[:, 1::2] - moving[:, ::2]
        return maps_by_name

    def frame_maps(self, frames_BNCHW: torch.Tensor) -> torch.Tensor:
        """Return TGANs-C's frame maps m(f), which D1 and D2 share: (B, N, channels, rows, columns)."""
        if self.pictures is None:
            raise RequestError("only a frame or motion discriminator has frame maps; set model.frame=true")
        return self._frame_maps(self.pictures, frames_BNCHW)

    @staticmethod
    def _frame_maps(network: nn.Module, frames_BNCHW: torch.Tensor) -> torch.Tensor:
        maps = cast(torch.Tensor, network(frames_BNCHW.flatten(0, 1)))
        return maps.view(*frames_BNCHW.shape[:2], *maps.shape[1:])

    def scores(self, maps: Maps, text_BS: torch.Tensor | None) -> Maps:
        """Return the logits of each discriminator, (B, N): for the clip, each frame, or each frame difference."""
        return {name: self._score(name, head_maps, text_BS) for name, head_maps in maps.items()}

    def similarities(self, maps: Maps, texts_KS: torch.Tensor) -> Maps:
        """Return the cosine similarity of clips and frames with each of K sentences: (B, N, K), -1 to 1.

        The motion discriminator is left out: frame differences show no digit.
        """
        return {
            name: cast(Projection, self.heads[name])
            .similarity(head_maps.flatten(0, 1), texts_KS)
            .view(*head_maps.shape[:2], -1)
            for name, head_maps in maps.items()
            if name != "motion"
        }

    def _score(self, name: str, maps: torch.Tensor, text_BS: torch.Tensor | None) -> torch.Tensor:
        num_frames = maps.shape[1]
        sentences = None if text_BS is None else text_BS.repeat_interleave(num_frames, 0)
        return cast(torch.Tensor, self.heads[name](maps.flatten(0, 1), sentences).unflatten(0, (-1, num_frames)))


def _head(
    spec: ModelSpec, tower: Tower, text_size: int, *, deepen: bool = False, outputs: int = 1, batch_deviation: bool = False
) -> nn.Module:
    if spec.condition == "projection":
        return Projection(spec, tower, text_size, batch_deviation=batch_deviation)
    return SideBySide(spec, tower, text_size, deepen=deepen, outputs=outputs)


def _frames_of_pairs(video: torch.Tensor, pairs_BP: torch.Tensor) -> torch.Tensor:
    """Return both frames of each pair in sequence: (B, 2P, C, H, W)."""
    indices_BN = torch.stack([pairs_BP, pairs_BP + 1], 2).flatten(1)
    return video.transpose(1, 2)[torch.arange(len(video), device=video.device).unsqueeze(1), indices_BN]


def for_penalty(scores_BN: torch.Tensor) -> torch.Tensor:
    """Reduce scores (B, N) of frames to one per clip, (B,), for a gradient penalty.

    The norm of its gradient with respect to the clip is the root mean square of the norms of the single frames.
    """
    return scores_BN.sum(1) / math.sqrt(scores_BN.shape[1])


def temporal_difference(maps_BNCHW: torch.Tensor) -> torch.Tensor:
    """Return TGANs-C's temporal coherence constraint: the mean squared difference of neighbouring frame maps."""
    return maps_BNCHW.diff(dim=1).square().mean()
