"""The GAN trainer: pre-trains the sentence encoder, then alternates discriminator and generator updates."""

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
from baselines.gan.objective import Metrics, Objective
from baselines.gan.spec import ModelSpec
from baselines.gan.text import Autoencoder, Sentences, TextSpec, text_encoder
from baselines.gan.two_stream import StreamsGenerator
from baselines.learner import Learner
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.errors import RequestError
from t2vdata.loading import Batch

# Decoding costs as much as an update, and the figure changes slowly.
_REBUILT_EVERY = 10


class Trainer:
    """Trains a generator, its discriminators and, where clips have captions, a sentence encoder."""

    def __init__(self, recipe: Recipe, setting: TrainerSetup) -> None:
        self.setting, self.recipe = setting, recipe
        self.spec, self.text, self.loss = _sections(recipe)
        num_words = len(setting.vocabulary)
        encoder = text_encoder(self.text, num_words)
        self.encoder = None if encoder is None else Sentences(encoder, self.text).to(setting.device)
        text_size = 0 if self.encoder is None else self.encoder.size
        discriminators = Discriminators(self.spec, setting.shape, text_size).to(setting.device)
        generator = make_generator(self.spec, setting.shape, text_size).to(setting.device)
        self._cached_sentences: dict[str, torch.Tensor] = {}
        self.pretraining: Learner | None = None
        if self.encoder is not None and self.text.pretrain_steps:
            autoencoder = Autoencoder(self.encoder.encoder, num_words, self.text).to(setting.device)
            self.pretraining = Learner(autoencoder, recipe.sections["encoder"], world=setting.world)
        self.discriminator = self._learner("discriminator", discriminators)
        self.generator = self._learner("generator", generator)
        self.objective = Objective(generator, discriminators, self.loss, self.text.taught_by, setting.autocast)
        if recipe.run.compile:
            # Not the discriminators: a gradient penalty differentiates twice, which compiled code does not support.
            generator.compile()

    def step(self, batches: Sequence[Batch], random: StepRandom) -> Metrics:
        """Update the discriminators, then the generator; during the first ``pretrain_steps``, only the encoder."""
        for learner in (self.generator, self.discriminator, self.pretraining):
            if learner is not None:
                learner.module.train()
        if self.pretraining is not None and self.pretraining.num_updates < self.text.pretrain_steps:
            return self._pretrain(self.pretraining, batches, random)
        update = self.discriminator.num_updates
        updates_generator = (update + 1) % self.loss.generator_every == 0
        with_penalty = self.loss.has_penalty and update % self.loss.penalty_every == 0
        # One generated batch serves both losses. With several batches, all their graphs would have to stay in memory.
        keep_graph = updates_generator and len(batches) == 1
        inputs_of_batches = [self.objective.inputs(batch, *self._sentences(batch), update, random) for batch in batches]
        discriminator_metrics = []
        for inputs in inputs_of_batches:
            loss, metrics = self.objective.discriminator_loss(inputs, random, keep_graph=keep_graph, with_penalty=with_penalty)
            self.discriminator.backward(loss / len(batches))
            discriminator_metrics.append(metrics)
        step_metrics = _means(discriminator_metrics) | {"gradient/discriminator": self.discriminator.update()}
        if not updates_generator:
            return step_metrics
        generator_metrics = []
        for inputs in inputs_of_batches:
            loss, metrics = self.objective.generator_loss(inputs, random)
            self.generator.backward(loss / len(batches))
            generator_metrics.append(metrics)
        return step_metrics | _means(generator_metrics) | {"gradient/generator": self.generator.update()}

    @torch.no_grad()
    def sample(self, captions: Sequence[str], random: StepRandom) -> torch.Tensor:
        """Generate a clip for each caption with the averaged weights: (N, C, T, H, W) uint8."""
        generator, encoder = _part(self.generator, "network"), self._averaged_encoder()
        generator.eval()
        text = None if encoder is None else self._encode(encoder, captions)
        with self.setting.autocast():
            video = generator(random.normal(len(captions), self.spec.noise), text).video
        return cast(torch.Tensor, ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))

    @torch.no_grad()
    def realness(self, video: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Score how real clips (N, C, T, H, W) uint8 look with their captions: (N,), above 0 is real.

        The score is a mean over the discriminators. Raises RequestError for losses whose scores are only relative.
        """
        if self.loss.game in ("wasserstein", "relativistic"):
            raise RequestError(
                f"scores of a {self.loss.game} loss do not classify a single clip as real; train with another loss.game"
            )
        discriminators, encoder = self.objective.discriminators.eval(), self._averaged_encoder()
        text = None if encoder is None else self._encode(encoder, captions)
        clips = video.to(self.setting.device, torch.float32) / 127.5 - 1
        with self.setting.autocast():
            scores = discriminators(clips, text)
        # Least-squares scores are 0 for generated clips and 1 for real ones.
        middle = 0.5 if self.loss.game == "least squares" else 0.0
        return torch.stack([clip_scores.float().mean(1) for clip_scores in scores.values()]).mean(0) - middle

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "pretraining": {} if self.pretraining is None else self.pretraining.state_dict(),
            # Stored even if a learner holds it too, so that readers of a checkpoint find it in one place.
            "encoder": {} if self.encoder is None else self.encoder.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._cached_sentences.clear()
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.pretraining is not None:
            self.pretraining.load_state_dict(state["pretraining"])
        if self.encoder is not None:
            self.encoder.load_state_dict(state["encoder"])

    def _learner(self, section: str, network: nn.Module) -> Learner:
        """Return the learner of a network; it includes the sentence encoder if this loss trains it."""
        parts = {"network": network}
        if self.encoder is not None and self.text.taught_by == section:
            parts["encoder"] = self.encoder
        return Learner(nn.ModuleDict(parts), self.recipe.sections[section], world=self.setting.world)

    def _pretrain(self, learner: Learner, batches: Sequence[Batch], random: StepRandom) -> Metrics:
        """Train the encoder as an autoencoder for one step; return its loss and reconstruction rates."""
        autoencoder, batch_metrics = cast(Autoencoder, learner.module), []
        # A running mean over fifty steps, during which the encoder hardly changes.
        share = max(1 / (learner.num_updates + 1), 1 / 50) / len(batches)
        for batch in batches:
            tokens, lengths = _tokens(batch)
            forced = random.uniform(*tokens.shape) < self.text.teacher_forcing
            loss = autoencoder.loss(tokens, lengths, forced)
            learner.backward(loss / len(batches))
            if self.encoder is not None:
                self.encoder.measure(tokens, lengths, share, world=self.setting.world)
            batch_metrics.append({"loss/autoencoder": loss.detach()})
            if learner.num_updates % _REBUILT_EVERY == 0:
                words, sentences = autoencoder.reconstruction(tokens, lengths)
                batch_metrics[-1] |= {"rebuilt/words": words, "rebuilt/sentences": sentences}
        return _means(batch_metrics) | {"gradient/autoencoder": learner.update()}

    def _sentences(self, batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the sentence vectors (B, S) and tokens (B, L) of a batch."""
        if self.encoder is None:
            return None, None
        tokens, lengths = _tokens(batch)
        if self.text.remember:
            return self._cached(self.encoder, batch), tokens
        with torch.set_grad_enabled(self.text.taught_by != "nobody"):
            return self.encoder(tokens, lengths), tokens

    @torch.no_grad()
    def _cached(self, encoder: nn.Module, batch: Batch) -> torch.Tensor:
        """Return sentence vectors (B, S), each encoded alone once, so that they do not depend on the batch."""
        tokens, lengths = _tokens(batch)
        captions = [str(caption) for caption in batch.captions]
        for row, caption in enumerate(captions):
            if caption not in self._cached_sentences:
                length = int(lengths[row])
                self._cached_sentences[caption] = encoder(tokens[row : row + 1, :length], lengths[row : row + 1])
        return torch.cat([self._cached_sentences[caption] for caption in captions])

    def _encode(self, encoder: nn.Module, captions: Sequence[str]) -> torch.Tensor:
        words = self.setting.vocabulary.encode_batch(captions)
        tokens, lengths = torch.from_numpy(words.tokens).to(self.setting.device), torch.from_numpy(words.lengths)
        return cast(torch.Tensor, encoder.eval()(tokens, lengths))

    def _averaged_encoder(self) -> nn.Module | None:
        learners = {"generator": self.generator, "discriminator": self.discriminator}
        return _part(learners[self.text.taught_by], "encoder") if self.text.taught_by in learners else self.encoder


def make_generator(spec: ModelSpec, shape: Shape, text_size: int) -> nn.Module:
    """Return the generator of a spec, a module that maps noise (B, noise) and sentences (B, S) or None to ``Generated``."""
    match spec.generator:
        case "vgan":
            return StreamsGenerator(spec, shape, text_size)
        case "frames":
            return FramesGenerator(spec, shape, text_size)
        case _:
            return ClipGenerator(spec, shape, text_size)


def _sections(recipe: Recipe) -> tuple[ModelSpec, TextSpec, LossSpec]:
    """Return the model, text and loss sections. Raises RequestError for options that contradict each other."""
    model, text, loss = (recipe.sections[name] for name in ("model", "text", "loss"))
    if loss.mask > 0 and model.generator != "vgan":
        raise RequestError(f"loss.mask {loss.mask}: only model.generator vgan has a mask; remove loss.mask")
    if loss.coherence > 0 and (model.discriminator != "tgansc" or not (model.frame or model.motion)):
        raise RequestError(
            "loss.coherence compares frame maps, but no discriminator has any; set model.frame or model.motion to true"
        )
    if loss.matching > 0 and (model.match is None or not (model.video or model.frame) or text.encoder == "none"):
        raise RequestError(
            "loss.matching compares clips and frames with captions; set model.match, such as 64, and keep a video or frame "
            "discriminator"
        )
    if loss.gradient_penalty > 0 and model.discriminator_norm == "batch":
        raise RequestError(
            "loss.gradient_penalty needs the gradient of each clip alone, but batch normalisation mixes clips; "
            "set model.discriminator_norm to layer or none"
        )
    return model, text, loss


def _tokens(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    if batch.tokens is None or batch.lengths is None:
        raise RequestError("the batches have no tokens; give the loader a vocabulary, or set text.encoder to none")
    if batch.tokens.dim() != 2:
        raise RequestError("the batches have several captions per clip, expected one; set load.captions to one or first")
    return batch.tokens, batch.lengths


def _part(learner: Learner, name: str) -> nn.Module:
    return cast(nn.ModuleDict, learner.averaged)[name]


def _means(batch_metrics: Sequence[Metrics]) -> Metrics:
    return {name: torch.stack([metrics[name] for metrics in batch_metrics]).mean() for name in batch_metrics[0]}
