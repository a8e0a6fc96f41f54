"""Generators of clips and pictures from noise and a sentence: TGANs-C, DCGAN, and one that draws frame by frame.

TGANs-C: Pan et al. 2017, arXiv:1804.08264, figure 2. DCGAN: Radford et al. 2016, arXiv:1511.06434; conditional: Reed et al.
2016, arXiv:1605.05396, section 4.1. B clips, N noise features, S sentence features, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from baselines.gan.blocks import Generated, Latent, Normed, Shape, Size, Trunk, activation, initialise, last_layer
from baselines.gan.spec import ModelSpec
from t2vdata.errors import RequestError


class ClipGenerator(nn.Module):
    """TGANs-C's generator: a linear layer over noise and sentence, a first map, doubling blocks, a last layer.

    With a single frame and without ``mix`` it is DCGAN's, in two dimensions.
    """

    def __init__(self, spec: ModelSpec, shape: Shape, text_size: int) -> None:
        super().__init__()
        channels, frames, height, width = shape
        self._is_picture = spec.generator == "dcgan"
        if self._is_picture and frames != 1:
            raise RequestError(f"generator 'dcgan' draws pictures, but clips have {frames} frames; set load.num_frames=1")
        size: Size = (height, width) if self._is_picture else (frames, height, width)
        self.latent = Latent(spec, text_size)
        mix = spec.mix and not self._is_picture
        self.mix = nn.Linear(self.latent.size, self.latent.size) if mix else None
        self.mix_norm = Normed(spec.generator_norm, 1, self.latent.size, self.latent.size) if mix else None
        self.activation = activation(spec)
        self.trunk = Trunk(spec, self.latent.size, size, condition_size=self.latent.size)
        self.last = last_layer(self.trunk, spec, channels, bias=spec.last_bias)
        initialise(self, spec, generates=True)

    def forward(self, noise_BN: torch.Tensor, text_BS: torch.Tensor | None) -> Generated:
        latent_BN = self.latent(noise_BN, text_BS)
        mixed_BN = latent_BN
        if self.mix is not None and self.mix_norm is not None:
            mixed_BN = self.activation(self.mix_norm(self.mix(latent_BN), latent_BN))
        video = torch.tanh(self.last(self.trunk(mixed_BN, latent_BN)))
        return Generated(video.unsqueeze(2) if self._is_picture else video)


class FramesGenerator(nn.Module):
    """Predicts a vector for each frame, then draws each frame from its vector, the noise and the sentence with 2-D layers.

    The architecture of TGAN (Saito et al. 2017, section 3.2), with two linear layers instead of temporal convolutions.
    """

    def __init__(self, spec: ModelSpec, shape: Shape, text_size: int) -> None:
        super().__init__()
        channels, self._frames, height, width = shape
        self.latent = Latent(spec, text_size)
        hidden = 4 * spec.noise
        self.plan = nn.Sequential(
            nn.Linear(self.latent.size, hidden),
            activation(spec),
            nn.Linear(hidden, self._frames * spec.noise),
            activation(spec),
        )
        self.trunk = Trunk(spec, self.latent.size + spec.noise, (height, width), condition_size=self.latent.size)
        self.last = last_layer(self.trunk, spec, channels, bias=spec.last_bias)
        initialise(self, spec, generates=True)

    def forward(self, noise_BN: torch.Tensor, text_BS: torch.Tensor | None) -> Generated:
        latent_BN = self.latent(noise_BN, text_BS)
        plans = self.plan(latent_BN).view(len(latent_BN) * self._frames, -1)
        repeated = latent_BN.repeat_interleave(self._frames, 0)
        frames = torch.tanh(self.last(self.trunk(torch.cat([plans, repeated], 1), repeated)))
        return Generated(frames.view(-1, self._frames, *frames.shape[1:]).transpose(1, 2))
