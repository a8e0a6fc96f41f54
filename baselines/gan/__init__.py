"""GANs that generate clips or pictures from captions: TGANs-C and its variants, VGAN, DCGAN, GAN-CLS and GAN-INT.

One trainer combines networks and losses; a recipe chooses them in these sections:

- ``model`` (spec.py): generator, discriminators, widths, normalisation, text conditioning;
- ``text`` (text.py): the sentence encoder and which loss trains it;
- ``loss`` (losses.py): adversarial loss, penalties, mismatched captions (negatives.py), auxiliary terms;
- ``generator``, ``discriminator``, ``encoder``: an optimiser each; the last one for pre-training the encoder.
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
