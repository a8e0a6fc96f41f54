"""A GAN that learns: first the sentence encoder alone, then the discriminators and the generator in turn, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from baselines.family import TrainerSetup
from baselines.gan.blocks import Shape
from baselines.gan.discriminators import Discriminators
from baselines.gan.generators import ClipGenerator, FramesGenerator
from baselines.gan.losses import LossSpec
from baselines.gan.objective import Numbers, Objective
from baselines.gan.spec import ModelSpec
from baselines.gan.streams import StreamsGenerator
from baselines.gan.text import Autoencoder, Sentences, TextSpec, text_encoder
from baselines.learner import Learner
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.errors import RequestError
from t2vdata.loading import Batch

# To decode costs as much as to learn; in between, little changes.
_REBUILT_EVERY = 10


class Trainer:
    """A generator, its discriminators, and where there are captions their encoder."""

    def __init__(self, recipe: Recipe, setting: TrainerSetup) -> None:
        self.setting, self.recipe = setting, recipe
        self.spec, self.text, self.loss = _sections(recipe)
        num_words = len(setting.vocabulary)
        made = text_encoder(self.text, num_words)
        self.encoder = None if made is None else Sentences(made, self.text).to(setting.device)
        text_size = 0 if self.encoder is None else self.encoder.size
        judges = Discriminators(self.spec, setting.shape, text_size).to(setting.device)
        maker = make_generator(self.spec, setting.shape, text_size).to(setting.device)
        self._known: dict[str, torch.Tensor] = {}
        self.pretraining: Learner | None = None
        if self.encoder is not None and self.text.pretrain_steps:
            whole = Autoencoder(self.encoder.encoder, num_words, self.text).to(setting.device)
            self.pretraining = Learner(whole, recipe.sections["encoder"], world=setting.world)
        self.discriminator, self.generator = self._learner("discriminator", judges), self._learner("generator", maker)
        self.game = Objective(maker, judges, self.loss, self.text.taught_by, setting.autocast)
        if recipe.run.compile:
            # Discriminators are not: a penalty differentiates them twice, which compiled code cannot.
            maker.compile()

    def step(self, batches: Sequence[Batch], draws: StepRandom) -> Numbers:
        """Update the discriminators, then the generator; in the first ``pretrain_steps`` the encoder instead."""
        for learner in (self.generator, self.discriminator, self.pretraining):
            if learner is not None:
                learner.module.train()
        if self.pretraining is not None and self.pretraining.num_updates < self.text.pretrain_steps:
            return self._pretrain(self.pretraining, batches, draws)
        number = self.discriminator.num_updates
        makes = (number + 1) % self.loss.generator_every == 0
        penalised = self.loss.has_penalty and number % self.loss.penalty_every == 0
        # Clips that are made once serve both players; of several batches, all their graphs would have to be kept.
        keeps = makes and len(batches) == 1
        turns = [self.game.turn(batch, *self._sentences(batch), number, draws) for batch in batches]
        told = []
        for turn in turns:
            loss, numbers = self.game.discriminators(turn, draws, keeps=keeps, penalised=penalised)
            self.discriminator.backward(loss / len(turns))
            told.append(numbers)
        found = _means(told) | {"gradient/discriminator": self.discriminator.update()}
        if not makes:
            return found
        told = []
        for turn in turns:
            loss, numbers = self.game.generator(turn, draws)
            self.generator.backward(loss / len(turns))
            told.append(numbers)
        return found | _means(told) | {"gradient/generator": self.generator.update()}

    @torch.no_grad()
    def sample(self, captions: Sequence[str], draws: StepRandom) -> torch.Tensor:
        """Return a clip for each caption, (N, C, T, H, W) uint8, of the averaged weights."""
        maker, encoder = _part(self.generator, "network"), self._averaged_encoder()
        maker.eval()
        text = None if encoder is None else self._read(encoder, captions)
        with self.setting.autocast():
            video = maker(draws.normal(len(captions), self.spec.noise), text).video
        return cast(torch.Tensor, ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))

    @torch.no_grad()
    def realness(self, video: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Return how real clips (N, C, T, H, W) uint8 look beside their captions, (N,): over 0 they are taken for real.

        It is a mean over the discriminators. Raises RequestError in games whose scores only mean something side by side.
        """
        if self.loss.game in ("wasserstein", "relativistic"):
            raise RequestError(
                f"scores of a {self.loss.game} game do not say of one clip whether it is real; train with another"
            )
        judges, encoder = self.game.judges.eval(), self._averaged_encoder()
        text = None if encoder is None else self._read(encoder, captions)
        clips = video.to(self.setting.device, torch.float32) / 127.5 - 1
        with self.setting.autocast():
            scores = judges(clips, text)
        # Least squares lie between 0 for generated clips and 1 for real ones.
        middle = 0.5 if self.loss.game == "least squares" else 0.0
        return torch.stack([one.float().mean(1) for one in scores.values()]).mean(0) - middle

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "pretraining": {} if self.pretraining is None else self.pretraining.state_dict(),
            # Also where a learner holds it: whoever reads a state finds it here.
            "encoder": {} if self.encoder is None else self.encoder.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._known.clear()
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.pretraining is not None:
            self.pretraining.load_state_dict(state["pretraining"])
        if self.encoder is not None:
            self.encoder.load_state_dict(state["encoder"])

    def _learner(self, player: str, network: nn.Module) -> Learner:
        """Return what makes a player learn, and with it the encoder where this player teaches it."""
        parts = {"network": network}
        if self.encoder is not None and self.text.taught_by == player:
            parts["encoder"] = self.encoder
        return Learner(nn.ModuleDict(parts), self.recipe.sections[player], world=self.setting.world)

    def _pretrain(self, learner: Learner, batches: Sequence[Batch], draws: StepRandom) -> Numbers:
        """Teach the encoder to keep what rebuilds its sentences; tell how much of them comes back."""
        whole, told = cast(Autoencoder, learner.module), []
        # The means look back over the last fifty steps, in which the encoder hardly changes.
        share = max(1 / (learner.num_updates + 1), 1 / 50) / len(batches)
        for batch in batches:
            tokens, lengths = _tokens(batch)
            forced = draws.uniform(*tokens.shape) < self.text.teacher_forcing
            loss = whole.loss(tokens, lengths, forced)
            learner.backward(loss / len(batches))
            if self.encoder is not None:
                self.encoder.measure(tokens, lengths, share, world=self.setting.world)
            told.append({"loss/autoencoder": loss.detach()})
            if learner.num_updates % _REBUILT_EVERY == 0:
                words, sentences = whole.reconstruction(tokens, lengths)
                told[-1] |= {"rebuilt/words": words, "rebuilt/sentences": sentences}
        return _means(told) | {"gradient/autoencoder": learner.update()}

    def _sentences(self, batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the batch's sentences (B, S) and their tokens (B, L)."""
        if self.encoder is None:
            return None, None
        tokens, lengths = _tokens(batch)
        if self.text.remember:
            return self._remembered(self.encoder, batch), tokens
        with torch.set_grad_enabled(self.text.taught_by != "nobody"):
            return self.encoder(tokens, lengths), tokens

    @torch.no_grad()
    def _remembered(self, encoder: nn.Module, batch: Batch) -> torch.Tensor:
        """Return sentences of which each was read by itself, so that they do not depend on who was read when."""
        tokens, lengths = _tokens(batch)
        captions = [str(caption) for caption in batch.captions]
        for place, caption in enumerate(captions):
            if caption not in self._known:
                length = int(lengths[place])
                self._known[caption] = encoder(tokens[place : place + 1, :length], lengths[place : place + 1])
        return torch.cat([self._known[caption] for caption in captions])

    def _read(self, encoder: nn.Module, captions: Sequence[str]) -> torch.Tensor:
        words = self.setting.vocabulary.encode_batch(captions)
        tokens, lengths = torch.from_numpy(words.tokens).to(self.setting.device), torch.from_numpy(words.lengths)
        return cast(torch.Tensor, encoder.eval()(tokens, lengths))

    def _averaged_encoder(self) -> nn.Module | None:
        teachers = {"generator": self.generator, "discriminator": self.discriminator}
        return _part(teachers[self.text.taught_by], "encoder") if self.text.taught_by in teachers else self.encoder


def make_generator(spec: ModelSpec, shape: Shape, text_size: int) -> nn.Module:
    """Return the generator of a spec: called with noise (B, noise) and sentences (B, S) or None, it gives ``Generated``."""
    match spec.generator:
        case "vgan":
            return StreamsGenerator(spec, shape, text_size)
        case "frames":
            return FramesGenerator(spec, shape, text_size)
        case _:
            return ClipGenerator(spec, shape, text_size)


def _sections(recipe: Recipe) -> tuple[ModelSpec, TextSpec, LossSpec]:
    """Return the sections that say what is trained. Raises RequestError for what does not go together."""
    model, text, loss = (recipe.sections[name] for name in ("model", "text", "loss"))
    if loss.mask > 0 and model.generator != "vgan":
        raise RequestError(f"loss.mask {loss.mask}: only model.generator vgan has a mask; leave it out")
    if loss.coherence > 0 and (model.discriminator != "tgansc" or not (model.frame or model.motion)):
        raise RequestError("loss.coherence compares frame maps, and there are none; set model.frame or model.motion to true")
    if loss.matching > 0 and (model.match is None or not (model.video or model.frame) or text.encoder == "none"):
        raise RequestError("loss.matching compares clips and frames with captions; set model.match, such as 64, and keep both")
    if loss.gradient_penalty > 0 and model.discriminator_norm == "batch":
        raise RequestError(
            "loss.gradient_penalty wants the gradient of each clip by itself, which batch normalisation mixes; "
            "set model.discriminator_norm to layer or none"
        )
    return model, text, loss


def _tokens(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    if batch.tokens is None or batch.lengths is None:
        raise RequestError("batches without tokens; give the loader a vocabulary, or set text.encoder to none")
    if batch.tokens.dim() != 2:
        raise RequestError("batches with all captions of a clip; set load.captions to one or first")
    return batch.tokens, batch.lengths


def _part(learner: Learner, name: str) -> nn.Module:
    return cast(nn.ModuleDict, learner.averaged)[name]


def _means(told: Sequence[Numbers]) -> Numbers:
    return {name: torch.stack([one[name] for one in told]).mean() for name in told[0]}
