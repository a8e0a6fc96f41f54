"""The training objective of a GAN: the losses of discriminators and generator on one batch, without optimisers.

B clips, C channels, T frames, H rows, W columns, S sentence features, P pairs of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from baselines.gan import losses, negatives
from baselines.gan.blocks import Generated
from baselines.gan.discriminators import Discriminators, Maps, for_penalty, temporal_difference
from baselines.gan.losses import LossSpec
from baselines.randomness import StepRandom
from t2vdata.loading import Batch

Metrics = dict[str, torch.Tensor]
"""{name: scalar} for the log."""


@dataclass
class StepInputs:
    """One batch as both losses see it, with all random choices already made."""

    real: torch.Tensor
    """Clips (B, C, T, H, W) float32, -1 to 1."""
    noise: torch.Tensor
    """(B, noise)"""
    text: torch.Tensor | None
    """Sentence vectors (B, S); None for unconditional models."""
    others: torch.Tensor | None
    """For each clip, the index of the clip whose sentence serves as its mismatched caption, (B,) int64; None for none."""
    has_other: torch.Tensor | None
    """Which clips have a mismatched caption, (B,) bool; None means all."""
    groups: torch.Tensor | None
    """Equal for clips with equal captions, (B,) int64; None unless captions are matched."""
    matching: float
    """Weight of the matching loss at this step; 0 turns it off."""
    real_pairs: torch.Tensor | None
    """First frames of the sampled pairs of real clips, (B, P) int64; None means all frames."""
    generated_pairs: torch.Tensor | None
    """The same for generated clips."""
    generated: Generated | None = None
    """Clips of the discriminators' pass, kept with their graph for the generator's loss."""


@dataclass(frozen=True)
class Objective:
    """A generator, its discriminators and the losses of both."""

    generator: nn.Module
    discriminators: Discriminators
    loss: LossSpec
    taught_by: str
    """Whose loss trains the sentence encoder: ``generator``, ``discriminator`` or ``nobody``."""
    autocast: Callable[[], AbstractContextManager[Any]]

    def inputs(
        self, batch: Batch, text: torch.Tensor | None, tokens: torch.Tensor | None, update: int, random: StepRandom
    ) -> StepInputs:
        """Prepare a batch for both losses: scale pixels, draw noise, mismatched captions and frame pairs."""
        number = len(batch)
        real = batch.video.to(torch.float32).div_(127.5).sub_(1)
        others, has_other = self._others(batch, tokens, random)
        noise = random.normal(number, self.discriminators.spec.noise)
        matching = 0.0 if tokens is None else self.loss.matching_at(update)
        groups = negatives.same_captions(tokens) if tokens is not None and matching > 0 else None
        pairs = self._pairs(number, random), self._pairs(number, random)
        return StepInputs(real, noise, text, others, has_other, groups, matching, *pairs)

    def generate(self, noise: torch.Tensor, text: torch.Tensor | None) -> Generated:
        sentences = text if self.taught_by == "generator" or text is None else text.detach()
        with self.autocast():
            return cast(Generated, self.generator(noise, sentences))

    def discriminator_loss(
        self, inputs: StepInputs, random: StepRandom, *, keep_graph: bool, with_penalty: bool
    ) -> tuple[torch.Tensor, Metrics]:
        """Return the loss of the discriminators, a mean over them, and its metrics.

        ``keep_graph`` stores the generated clips in ``inputs.generated`` for ``generator_loss``.
        """
        with torch.set_grad_enabled(keep_graph):
            generated = self.generate(inputs.noise, inputs.text)
        inputs.generated = generated if keep_graph else None
        video = generated.video.detach()
        text = inputs.text if self.taught_by == "discriminator" or inputs.text is None else inputs.text.detach()
        with self.autocast():
            real_maps, generated_maps = self._maps(inputs, video)
            real = self.discriminators.scores(real_maps, text)
            fake = self.discriminators.scores(generated_maps, text)
            mismatched = self._mismatched(inputs, real_maps, text)
            matched = self._matched(inputs, real_maps, text)
        loss = torch.stack(
            [
                losses.discriminator_loss(self.loss, real[name].float(), mismatched.get(name), fake[name].float())
                for name in self.discriminators.names
            ]
        ).mean()
        metrics = {"loss/discriminator": loss.detach()}
        if matched is not None:
            loss = loss + inputs.matching * matched
            metrics["loss/matching_real"] = matched.detach()
        for name in self.discriminators.names:
            metrics[f"score/{name}_real"] = real[name].detach().float().mean()
            metrics[f"score/{name}_generated"] = fake[name].detach().float().mean()
        if with_penalty:
            penalty = self._penalty(inputs, video, random)
            loss = loss + self.loss.penalty_every * penalty
            metrics["loss/penalty"] = penalty.detach()
        return loss, metrics

    def generator_loss(self, inputs: StepInputs, random: StepRandom) -> tuple[torch.Tensor, Metrics]:
        """Return the loss of the generator and its metrics.

        The adversarial terms and the coherence constraint are averaged; the other terms are added on top.
        """
        generated = self.generate(inputs.noise, inputs.text) if inputs.generated is None else inputs.generated
        text = None if inputs.text is None else inputs.text.detach()
        real = self._real_scores(inputs, text)
        with self.autocast():
            maps = self.discriminators.maps(generated.video, inputs.generated_pairs)
            scores = self.discriminators.scores(maps, text)
            matched = self._matched(inputs, maps, text)
        parts = self._adversarial(scores, real)
        metrics = {"loss/generator": torch.stack(parts).mean().detach()}
        if self.loss.coherence > 0:
            with self.autocast():
                frame_maps = self.discriminators.frame_maps(generated.video.transpose(1, 2))
            metrics["loss/coherence"] = temporal_difference(frame_maps.float())
            parts.append(self.loss.coherence * metrics["loss/coherence"])
        loss = torch.stack(parts).mean()
        if matched is not None:
            metrics["loss/matching_generated"] = matched
            loss = loss + inputs.matching * matched
        if self.loss.interpolated > 0 and inputs.text is not None:
            loss = loss + self.loss.interpolated * self._interpolated(inputs.text, real, random)
        if self.loss.l1 > 0:
            metrics["loss/l1"] = functional.l1_loss(generated.video.float(), inputs.real)
            loss = loss + self.loss.l1 * metrics["loss/l1"]
        if self.loss.mask > 0 and generated.mask is not None:
            metrics["loss/mask"] = generated.mask.float().mean()
            loss = loss + self.loss.mask * metrics["loss/mask"]
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _others(
        self, batch: Batch, tokens: torch.Tensor | None, random: StepRandom
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Draw mismatched captions: the index of the clip each sentence comes from, and which clips get one."""
        if tokens is None or self.loss.mismatched == 0:
            return None, None
        if self.loss.negatives == "derangement":
            return negatives.derangement(len(batch), random.generator), None
        groups = batch.labels if self.loss.negatives == "other label" else negatives.same_captions(tokens)
        others, has_other = negatives.others(groups, random.generator)
        if not bool(has_other.any()):
            return None, None
        return others, None if bool(has_other.all()) else has_other

    def _pairs(self, num_clips: int, random: StepRandom) -> torch.Tensor | None:
        num_pairs = self.discriminators.num_pairs
        return None if num_pairs is None else (random.uniform(num_clips, num_pairs) * (self.discriminators.frames - 1)).long()

    def _maps(self, inputs: StepInputs, generated: torch.Tensor) -> tuple[Maps, Maps]:
        """Return the feature maps of real and of generated clips."""
        if self.discriminators.spec.discriminator_norm == "batch":
            # Separate passes: each has batch statistics of its own.
            return self.discriminators.maps(inputs.real, inputs.real_pairs), self.discriminators.maps(
                generated, inputs.generated_pairs
            )
        pairs = None
        if inputs.real_pairs is not None and inputs.generated_pairs is not None:
            pairs = torch.cat([inputs.real_pairs, inputs.generated_pairs])
        both = self.discriminators.maps(torch.cat([inputs.real, generated.float()]), pairs)
        num_real = len(inputs.real)
        return {name: maps[:num_real] for name, maps in both.items()}, {name: maps[num_real:] for name, maps in both.items()}

    def _mismatched(self, inputs: StepInputs, real_maps: Maps, text: torch.Tensor | None) -> Maps:
        """Score real clips with mismatched captions; only those clips that have one."""
        if text is None or inputs.others is None:
            return {}
        maps, others = real_maps, inputs.others
        if inputs.has_other is not None:
            maps = {name: real_map[inputs.has_other] for name, real_map in real_maps.items()}
            others = inputs.others[inputs.has_other]
        return {name: scores.float() for name, scores in self.discriminators.scores(maps, text[others]).items()}

    def _matched(self, inputs: StepInputs, maps: Maps, text: torch.Tensor | None) -> torch.Tensor | None:
        """Return the matching loss: cross-entropy of each clip's caption among those of the batch, over clips and frames."""
        if inputs.groups is None or text is None:
            return None
        similarities = self.discriminators.similarities(maps, text[negatives.first_of_each(inputs.groups)])
        temperature = self.loss.temperature
        return torch.stack(
            [losses.matching_loss(similarity.float(), inputs.groups, temperature) for similarity in similarities.values()]
        ).mean()

    def _penalty(self, inputs: StepInputs, generated: torch.Tensor, random: StepRandom) -> torch.Tensor:
        """Return the weighted gradient penalties, a mean over the discriminators."""
        spec, text = self.loss, None if inputs.text is None else inputs.text.detach()
        penalty = inputs.real.new_zeros(())
        if spec.r1 > 0:
            penalty = penalty + spec.r1 * self._penalised(losses.zero_centred_penalty, inputs.real, text, inputs.real_pairs)
        if spec.r2 > 0:
            penalty = penalty + spec.r2 * self._penalised(losses.zero_centred_penalty, generated, text, inputs.generated_pairs)
        if spec.gradient_penalty > 0:
            between = losses.between_pairs(inputs.real, generated.float(), random.uniform(len(generated)))
            penalty = penalty + spec.gradient_penalty * self._penalised(
                losses.unit_norm_penalty, between, text, inputs.real_pairs
            )
        return penalty

    def _penalised(
        self,
        penalty: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        clips: torch.Tensor,
        text: torch.Tensor | None,
        pairs: torch.Tensor | None,
    ) -> torch.Tensor:
        # In float32: second derivatives of bfloat16 are noise.
        leaf = clips.detach().float().requires_grad_()
        scores = self.discriminators(leaf, text, pairs)
        return torch.stack([penalty(for_penalty(clip_scores), leaf) for clip_scores in scores.values()]).mean()

    @torch.no_grad()
    def _real_scores(self, inputs: StepInputs, text: torch.Tensor | None) -> Maps:
        """Score real clips for a relativistic loss, which compares with them; empty for other losses."""
        if self.loss.game != "relativistic":
            return {}
        with self.autocast():
            return cast(Maps, self.discriminators(inputs.real, text, inputs.real_pairs))

    def _adversarial(self, scores: Maps, real: Maps) -> list[torch.Tensor]:
        """Return the generator's adversarial loss against each discriminator."""
        return [
            losses.generator_loss(self.loss, scores[name].float(), real[name].float() if real else None)
            for name in self.discriminators.names
        ]

    def _interpolated(self, text: torch.Tensor, real: Maps, random: StepRandom) -> torch.Tensor:
        """Return the adversarial loss for captions interpolated between those of two clips (GAN-INT)."""
        other = text[negatives.derangement(len(text), random.generator)]
        between = self.loss.between * text + (1 - self.loss.between) * other
        video = self.generate(random.normal(len(text), self.discriminators.spec.noise), between).video
        with self.autocast():
            scores = self.discriminators(video, between.detach(), self._pairs(len(text), random))
        return torch.stack(self._adversarial(scores, real)).mean()
