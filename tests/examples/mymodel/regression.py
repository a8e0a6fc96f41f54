"""A model family in one file: for each caption, one clip, learned by regression. It shows what a family is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from baselines.family import Setting
from baselines.learner import Learner, OptimiserSpec
from baselines.randomness import Draws
from baselines.recipe import Recipe
from t2vdata.loading import Batch


@dataclass(frozen=True)
class ModelSpec:
    width: int = 8
    noise: float = 0.0
    """Of training targets, standard deviation."""


SECTIONS = {"model": ModelSpec, "optimiser": OptimiserSpec}


class Trainer:
    def __init__(self, recipe: Recipe, setting: Setting) -> None:
        self.spec, self.setting = recipe.sections["model"], setting
        words, pixels = len(setting.vocabulary), torch.Size(setting.shape).numel()
        network = nn.Sequential(nn.EmbeddingBag(words, self.spec.width, mode="sum"), nn.Linear(self.spec.width, pixels))
        self.learner = Learner(network.to(setting.device), recipe.sections["optimiser"], world=setting.world)

    def step(self, batches: Sequence[Batch], draws: Draws) -> dict[str, torch.Tensor]:
        total = torch.zeros(())
        for batch in batches:
            noise = self.spec.noise * draws.normal(len(batch), *self.setting.shape)
            target = batch.video.float() / 255 + noise
            loss = (self.learner.module(batch.tokens).view_as(target) - target).square().mean() / len(batches)
            self.learner.backward(loss)
            total += loss.detach()
        return {"loss": total, "norm": self.learner.update()}

    @torch.no_grad()
    def sample(self, captions: Sequence[str], draws: Draws) -> torch.Tensor:
        tokens = torch.from_numpy(self.setting.vocabulary.encode_batch(captions).tokens).to(self.setting.device)
        pixels = self.learner.averaged(tokens).view(-1, *self.setting.shape)
        return (255 * pixels).clamp(0, 255).round().to(torch.uint8)

    def state_dict(self) -> dict[str, Any]:
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
