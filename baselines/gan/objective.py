"""What the two players of a GAN lose and win on a batch: networks and losses put together, without what makes them learn.

B clips, S numbers of a sentence, P pairs of frames.
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

Numbers = dict[str, torch.Tensor]
"""Scalars to be logged."""


@dataclass
class StepInputs:
    """What both players see of one batch."""

    real: torch.Tensor
    """Clips (B, C, T, H, W) from -1 to 1."""
    noise: torch.Tensor
    """(B, noise)"""
    text: torch.Tensor | None
    """Sentences (B, S); None where clips have no captions."""
    others: torch.Tensor | None
    """Whose sentence each clip gets as a wrong one, (B,) int64; None where no clip gets any."""
    has_other: torch.Tensor | None
    """Which clips have such a sentence, (B,) bool; None is all."""
    groups: torch.Tensor | None
    """Which clips have the same caption, (B,) int64, where captions are matched."""
    matching: float
    """The weight of matching in this turn; 0 is none."""
    real_pairs: torch.Tensor | None
    """First frames of the pairs that are looked at, (B, P) int64; None is all frames."""
    made_pairs: torch.Tensor | None
    made: Generated | None = None
    """The generator's clips of this turn, where they are kept for its own part."""


@dataclass(frozen=True)
class Objective:
    """A generator, its discriminators, and the rules."""

    maker: nn.Module
    judges: Discriminators
    loss: LossSpec
    taught_by: str
    """Through whose loss gradients reach the sentences."""
    autocast: Callable[[], AbstractContextManager[Any]]

    def turn(
        self, batch: Batch, text: torch.Tensor | None, tokens: torch.Tensor | None, update: int, draws: StepRandom
    ) -> StepInputs:
        """Return a batch as the players see it, with all that is drawn by chance for both."""
        number = len(batch)
        real = batch.video.to(torch.float32).div_(127.5).sub_(1)
        others, has_other = self._others(batch, tokens, draws)
        noise = draws.normal(number, self.judges.spec.noise)
        matching = 0.0 if tokens is None else self.loss.matching_at(update)
        groups = negatives.same_captions(tokens) if tokens is not None and matching > 0 else None
        pairs = self._pairs(number, draws), self._pairs(number, draws)
        return StepInputs(real, noise, text, others, has_other, groups, matching, *pairs)

    def make(self, noise: torch.Tensor, text: torch.Tensor | None) -> Generated:
        sentences = text if self.taught_by == "generator" or text is None else text.detach()
        with self.autocast():
            return cast(Generated, self.maker(noise, sentences))

    def discriminators(
        self, turn: StepInputs, draws: StepRandom, *, keeps: bool, penalised: bool
    ) -> tuple[torch.Tensor, Numbers]:
        """Return the discriminators' loss, a mean over them, and what is to be logged.

        ``keeps`` leaves the clips that are made in ``turn``, for the generator's part.
        """
        with torch.set_grad_enabled(keeps):
            made = self.make(turn.noise, turn.text)
        turn.made = made if keeps else None
        video = made.video.detach()
        text = turn.text if self.taught_by == "discriminator" or turn.text is None else turn.text.detach()
        with self.autocast():
            real_maps, made_maps = self._maps(turn, video)
            real, generated = self.judges.scores(real_maps, text), self.judges.scores(made_maps, text)
            wrong = self._mismatched(turn, real_maps, text)
            matched = self._matched(turn, real_maps, text)
        loss = torch.stack(
            [
                losses.discriminator_loss(self.loss, real[name].float(), wrong.get(name), generated[name].float())
                for name in self.judges.names
            ]
        ).mean()
        told = {"loss/discriminator": loss.detach()}
        if matched is not None:
            loss = loss + turn.matching * matched
            told["loss/matching_real"] = matched.detach()
        for name in self.judges.names:
            told[f"score/{name}_real"] = real[name].detach().float().mean()
            told[f"score/{name}_generated"] = generated[name].detach().float().mean()
        if penalised:
            penalty = self._penalty(turn, video, draws)
            loss = loss + self.loss.penalty_every * penalty
            told["loss/penalty"] = penalty.detach()
        return loss, told

    def generator(self, turn: StepInputs, draws: StepRandom) -> tuple[torch.Tensor, Numbers]:
        """Return the generator's loss and what is to be logged.

        It is a mean over the discriminators and the coherence constraint, and the other terms on top.
        """
        made = self.make(turn.noise, turn.text) if turn.made is None else turn.made
        text = None if turn.text is None else turn.text.detach()
        real = self._real_scores(turn, text)
        with self.autocast():
            maps = self.judges.maps(made.video, turn.made_pairs)
            scores = self.judges.scores(maps, text)
            matched = self._matched(turn, maps, text)
        parts = self._fooling(scores, real)
        told = {"loss/generator": torch.stack(parts).mean().detach()}
        if self.loss.coherence > 0:
            with self.autocast():
                frame_maps = self.judges.frame_maps(made.video.transpose(1, 2))
            told["loss/coherence"] = temporal_difference(frame_maps.float())
            parts.append(self.loss.coherence * told["loss/coherence"])
        loss = torch.stack(parts).mean()
        if matched is not None:
            told["loss/matching_generated"] = matched
            loss = loss + turn.matching * matched
        if self.loss.interpolated > 0 and turn.text is not None:
            loss = loss + self.loss.interpolated * self._interpolated(turn.text, real, draws)
        if self.loss.l1 > 0:
            told["loss/l1"] = functional.l1_loss(made.video.float(), turn.real)
            loss = loss + self.loss.l1 * told["loss/l1"]
        if self.loss.mask > 0 and made.mask is not None:
            told["loss/mask"] = made.mask.float().mean()
            loss = loss + self.loss.mask * told["loss/mask"]
        return loss, {name: value.detach() for name, value in told.items()}

    def _others(
        self, batch: Batch, tokens: torch.Tensor | None, draws: StepRandom
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return whose sentences the clips get as wrong ones, and which get one."""
        if tokens is None or self.loss.mismatched == 0:
            return None, None
        if self.loss.negatives == "derangement":
            return negatives.derangement(len(batch), draws.generator), None
        groups = batch.labels if self.loss.negatives == "other label" else negatives.same_captions(tokens)
        others, has_other = negatives.others(groups, draws.generator)
        if not bool(has_other.any()):
            return None, None
        return others, None if bool(has_other.all()) else has_other

    def _pairs(self, number: int, draws: StepRandom) -> torch.Tensor | None:
        wanted = self.judges.num_pairs
        return None if wanted is None else (draws.uniform(number, wanted) * (self.judges.frames - 1)).long()

    def _maps(self, turn: StepInputs, made: torch.Tensor) -> tuple[Maps, Maps]:
        """Return what the heads read of real and of generated clips."""
        if self.judges.spec.discriminator_norm == "batch":
            # Apart, as their statistics are.
            return self.judges.maps(turn.real, turn.real_pairs), self.judges.maps(made, turn.made_pairs)
        pairs = None
        if turn.real_pairs is not None and turn.made_pairs is not None:
            pairs = torch.cat([turn.real_pairs, turn.made_pairs])
        both = self.judges.maps(torch.cat([turn.real, made.float()]), pairs)
        number = len(turn.real)
        return {name: maps[:number] for name, maps in both.items()}, {name: maps[number:] for name, maps in both.items()}

    def _mismatched(self, turn: StepInputs, real_maps: Maps, text: torch.Tensor | None) -> Maps:
        """Return scores of real clips with captions of others, of those clips that have one."""
        if text is None or turn.others is None:
            return {}
        maps, others = real_maps, turn.others
        if turn.has_other is not None:
            maps = {name: some[turn.has_other] for name, some in real_maps.items()}
            others = turn.others[turn.has_other]
        return {name: scores.float() for name, scores in self.judges.scores(maps, text[others]).items()}

    def _matched(self, turn: StepInputs, maps: Maps, text: torch.Tensor | None) -> torch.Tensor | None:
        """Return how hard it is to tell each clip's caption among those of the batch, a mean over clips and frames."""
        if turn.groups is None or text is None:
            return None
        likenesses = self.judges.likenesses(maps, text[negatives.first_of_each(turn.groups)])
        temperature = self.loss.temperature
        return torch.stack([losses.matching_loss(one.float(), turn.groups, temperature) for one in likenesses.values()]).mean()

    def _penalty(self, turn: StepInputs, made: torch.Tensor, draws: StepRandom) -> torch.Tensor:
        """Return the weighted penalties on the discriminators' gradients, a mean over the discriminators."""
        spec, text = self.loss, None if turn.text is None else turn.text.detach()
        found = turn.real.new_zeros(())
        if spec.r1 > 0:
            found = found + spec.r1 * self._penalised(losses.zero_centred_penalty, turn.real, text, turn.real_pairs)
        if spec.r2 > 0:
            found = found + spec.r2 * self._penalised(losses.zero_centred_penalty, made, text, turn.made_pairs)
        if spec.gradient_penalty > 0:
            between = losses.between_pairs(turn.real, made.float(), draws.uniform(len(made)))
            found = found + spec.gradient_penalty * self._penalised(losses.unit_norm_penalty, between, text, turn.real_pairs)
        return found

    def _penalised(
        self,
        penalty: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        clips: torch.Tensor,
        text: torch.Tensor | None,
        pairs: torch.Tensor | None,
    ) -> torch.Tensor:
        # In float32: second derivatives of bfloat16 are noise.
        inputs = clips.detach().float().requires_grad_()
        scores = self.judges(inputs, text, pairs)
        return torch.stack([penalty(for_penalty(one), inputs) for one in scores.values()]).mean()

    @torch.no_grad()
    def _real_scores(self, turn: StepInputs, text: torch.Tensor | None) -> Maps:
        """Return scores of real clips, where the game compares with them."""
        if self.loss.game != "relativistic":
            return {}
        with self.autocast():
            return cast(Maps, self.judges(turn.real, text, turn.real_pairs))

    def _fooling(self, scores: Maps, real: Maps) -> list[torch.Tensor]:
        """Return what each discriminator's scores cost the generator."""
        return [
            losses.generator_loss(self.loss, scores[name].float(), real[name].float() if real else None)
            for name in self.judges.names
        ]

    def _interpolated(self, text: torch.Tensor, real: Maps, draws: StepRandom) -> torch.Tensor:
        """Return the generator's loss for captions between those of two clips: there is no real clip of them."""
        other = text[negatives.derangement(len(text), draws.generator)]
        between = self.loss.between * text + (1 - self.loss.between) * other
        video = self.make(draws.normal(len(text), self.judges.spec.noise), between).video
        with self.autocast():
            scores = self.judges(video, between.detach(), self._pairs(len(text), draws))
        return torch.stack(self._fooling(scores, real)).mean()
