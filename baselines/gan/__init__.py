"""Adversarial networks that make clips and pictures of captions: TGANs-C and its variants, VGAN, DCGAN, GAN-CLS and GAN-INT.

One set of networks, losses and one trainer, which recipes combine by their options:

- ``model`` (spec.py): which generator and which discriminators, how wide, normalised how, joined with the sentence how;
- ``text`` (text.py): how captions become vectors, and who teaches their encoder;
- ``loss`` (losses.py): what each player is rewarded for, penalties, wrong captions (negatives.py), terms beside the game;
- ``generator``, ``discriminator``, ``encoder``: how each learns; the last is for the encoder's pre-training.
"""

from __future__ import annotations

from baselines.gan.losses import LossSpec
from baselines.gan.spec import ModelSpec
from baselines.gan.text import TextSpec
from baselines.gan.trainer import Trainer
from baselines.learner import OptimiserSpec

__all__ = ["SECTIONS", "Trainer"]

SECTIONS = {
    "model": ModelSpec,
    "text": TextSpec,
    "loss": LossSpec,
    "generator": OptimiserSpec,
    "discriminator": OptimiserSpec,
    "encoder": OptimiserSpec,
}
