"""A model family in one file: it learns one clip per caption by regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from baselines.family import TrainerSetup
from baselines.learner import Learner, OptimiserSpec
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.loading import Batch


@dataclass(frozen=True)
class ModelSpec:
    width: int = 8
    noise: float = 0.0
    """Standard deviation of the noise on training targets."""


SECTIONS = {"model": ModelSpec, "optimiser": OptimiserSpec}


class Trainer:
    def __init__(self, recipe: Recipe, setup: TrainerSetup) -> None:
        self.spec, self.setup = recipe.sections["model"], setup
        num_words, num_pixels = len(setup.vocabulary), torch.Size(setup.shape).numel()
        network = nn.Sequential(nn.EmbeddingBag(num_words, self.spec.width, mode="sum"), nn.Linear(self.spec.width, num_pixels))
        self.learner = Learner(network.to(setup.device), recipe.sections["optimiser"], world=setup.world)

    def step(self, batches: Sequence[Batch], random: StepRandom) -> dict[str, torch.Tensor]:
        total = torch.zeros(())
        for batch in batches:
            noise = self.spec.noise * random.normal(len(batch), *self.setup.shape)
            target = batch.video.float() / 255 + noise
            loss = (self.learner.module(batch.tokens).view_as(target) - target).square().mean() / len(batches)
            self.learner.backward(loss)
            total += loss.detach()
        return {"loss": total, "norm": self.learner.update()}

    @torch.no_grad()
    def sample(self, captions: Sequence[str], random: StepRandom) -> torch.Tensor:
        tokens = torch.from_numpy(self.setup.vocabulary.encode_batch(captions).tokens).to(self.setup.device)
        pixels = self.learner.averaged(tokens).view(-1, *self.setup.shape)
        return (255 * pixels).clamp(0, 255).round().to(torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
