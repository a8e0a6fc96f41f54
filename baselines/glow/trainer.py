"""How a video Glow learns, is measured and makes clips."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch

from baselines.family import TrainerSetup
from baselines.glow import measures
from baselines.glow.context import ContextProcessor
from baselines.glow.dequantisation import levels_of
from baselines.glow.labels import NUM_MEANINGS, meaning_number
from baselines.glow.layers import is_measured, measuring
from baselines.glow.spec import EvaluationSpec, LossSpec, ModelSpec
from baselines.glow.video import FrameFlow, Told, VideoGlow, build
from baselines.learner import Learner
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.errors import RequestError, nearest
from t2vdata.loading import Batch

# Clips whose frames go through the flows together when nothing is learned, and clips that are reconstructed.
_AT_ONCE, _RECONSTRUCTED = 8, 2


class Trainer:
    """Head, tail and state, each with its optimiser; the loss of later frames runs through tail and state."""

    def __init__(self, recipe: Recipe, setting: TrainerSetup) -> None:
        self.setting = setting
        self.model: ModelSpec = recipe.sections["model"]
        self.loss: LossSpec = recipe.sections["loss"]
        self.evaluation: EvaluationSpec = recipe.sections["evaluation"]
        channels, num_frames, height, width = setting.shape
        self.num_frames = min(num_frames, self.loss.frames or num_frames)
        if self.num_frames < 2:
            raise RequestError(f"clips of {num_frames} frame: a Glow of videos needs 2 or more; set load.num_frames")
        if self.model.label in ("image", "vector") and self.model.label_of == "label" and not setting.labels:
            raise RequestError("model.label_of label: the dataset has no labels; use meaning, or model.label caption")
        made = build(
            (channels, height, width), self.model, recipe.sections["head"], recipe.sections["tail"],
            num_frames=self.num_frames, num_labels=len(setting.labels), num_words=len(setting.vocabulary),
        )  # fmt: skip
        parts = {"head": made.head, "tail": made.tail, "state": made.state}
        self.learners = {
            name: Learner(part.to(setting.device), recipe.sections[f"{name}_optimiser"], world=setting.world)
            for name, part in parts.items()
            if part is not None
        }
        self.glow = made
        self.num_dimensions = channels * height * width
        self._is_measured = False
        if recipe.run.compile:
            for part in (made.head, made.tail):
                part.compile()

    @property
    def averaged(self) -> VideoGlow:
        """The model with its average weights."""
        parts = {name: learner.averaged.eval() for name, learner in self.learners.items()}
        head, tail = cast(FrameFlow, parts["head"]), cast(FrameFlow, parts["tail"])
        return VideoGlow(self.model, head, tail, cast("ContextProcessor | None", parts.get("state")))

    # Learning

    def step(self, batches: Sequence[Batch], draws: StepRandom) -> dict[str, torch.Tensor]:
        """Update every part once; return the bits per dimension of first and later frames, and the norms of gradients."""
        scalars: dict[str, torch.Tensor] = {}
        for part in self.glow.parts():
            part.train()
        for batch in batches:
            levels, told = self._levels(batch.video)[:, : self.num_frames], self._told(batch)
            noise = measures.noise_for(self.glow, levels, draws)
            self._measure(levels, noise, told)
            with self.setting.autocast():
                found = self.glow.log_probabilities(levels, noise, told, self._chosen(levels, draws))
            bits = {"bits_per_dim/head": self._bits(found.first), "bits_per_dim/tail": self._bits(found.later)}
            loss = bits["bits_per_dim/head"] + bits["bits_per_dim/tail"]
            if self.loss.unit == "nats":
                loss = loss * (math.log(2) * self.num_dimensions)
            torch.autograd.backward(loss / len(batches))
            for name, value in bits.items():
                scalars[name] = scalars.get(name, torch.zeros_like(value)) + value.detach() / len(batches)
        if self.learners["head"].num_updates % self.loss.reconstruct_every == 0:
            scalars["reconstruction"] = self._reconstruction(levels, noise, told)
        return scalars | {f"norm/{name}": learner.update() for name, learner in self.learners.items()}

    def _chosen(self, levels_BTCHW: torch.Tensor, draws: StepRandom) -> torch.Tensor | None:
        """Return which later frames of each clip (B, K) are learned in this step; None for all."""
        if self.loss.tail_frames is None:
            return None
        return draws.uniform(len(levels_BTCHW), levels_BTCHW.shape[1] - 1).argsort(dim=1)[:, : self.loss.tail_frames]

    def _bits(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        return -log_probabilities.mean() / (math.log(2) * self.num_dimensions)

    def _measure(self, levels: torch.Tensor, noise: torch.Tensor, told: Told) -> None:
        """Set every ActNorm from the first batch there ever was."""
        if self._is_measured:
            return
        with torch.no_grad(), contextlib.ExitStack() as stack, self.setting.autocast():
            for learner in self.learners.values():
                stack.enter_context(measuring(learner.module))
            # Once only, so it would not pay.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            self.glow.log_probabilities(levels, noise, told)
        for learner in self.learners.values():
            if learner.averaged is not learner.module:
                learner.averaged.load_state_dict(learner.module.state_dict())
        self._is_measured = True

    @torch.no_grad()
    def _reconstruction(self, levels: torch.Tensor, noise: torch.Tensor, told: Told) -> torch.Tensor:
        """Return the largest error of a pixel of a few clips, after the flow and its inverse."""
        few = slice(0, _RECONSTRUCTED)
        levels, noise, told = levels[few], noise[few], measures.some(told, 0, _RECONSTRUCTED)
        head = self.glow.head.reconstruction_error(levels[:, 0], noise[:, 0], self.glow.head.describe(told))
        later = self.glow.later(levels, noise, told)
        tail = self.glow.tail.reconstruction_error(later.levels, later.noise, later.known)
        return torch.maximum(head, tail)

    # Measuring

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], draws: StepRandom) -> dict[str, float]:
        """Return bits per dimension and nats per frame of whole clips, how they were measured, and their limits."""
        glow, tally = self.averaged, measures.Tally()
        for batch in batches:
            levels, told = self._levels(batch.video), self._told(batch)
            for first, last in measures.spans(len(levels), _AT_ONCE):
                part, known = levels[first:last], measures.some(told, first, last)
                noises = [measures.noise_for(glow, part, draws) for _ in range(self.evaluation.noise_draws)]
                with self.setting.autocast():
                    tally.add(measures.log_probabilities(glow, part, known, noises))
                    few = self.evaluation.label_clips - len(tally.gains)
                    if few > 0 and self._num_labels is not None:
                        known = measures.some(known, 0, few)
                        gains = measures.label_gains(glow, part[:few], known, noises[0][:few], self._num_labels)
                        tally.gains += gains.tolist()
        channels, _, height, width = self.setting.shape
        how = {
            "num_bits": self.model.num_bits, "dimensions": self.num_dimensions, "noise_draws": self.evaluation.noise_draws
        }  # fmt: skip
        found = tally.numbers(self.num_dimensions) | {name: float(value) for name, value in how.items()}
        return found | dict(measures.limits(self.evaluation, (channels, height, width), self._num_labels))

    @property
    def _num_labels(self) -> int | None:
        if self.model.label not in ("image", "vector"):
            return None
        return NUM_MEANINGS if self.model.label_of == "meaning" else len(self.setting.labels)

    # Making

    @torch.no_grad()
    def sample(
        self,
        captions: Sequence[str],
        draws: StepRandom,
        *,
        temperature: float | None = None,
        first: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return a clip for each caption, (N, C, T, H, W) uint8.

        ``temperature`` is the recipe's unless given. ``first`` is (N, C, H, W) uint8, first frames that are given.
        """
        glow = self.averaged
        degree = self.evaluation.temperature if temperature is None else temperature
        channels, num_frames, height, width = self.setting.shape
        if first is not None and first.shape != (expected := (len(captions), channels, height, width)):
            raise RequestError(f"first frames of {tuple(first.shape)}; expected {expected}: one for each caption")
        normal = draws.normal(len(captions), num_frames, self.num_dimensions)
        uniform = draws.uniform(len(captions), num_frames)
        known = None if first is None else levels_of(first.to(self.setting.device), self.model.num_bits)
        with self.setting.autocast():
            levels = glow.sample(self._told_by(captions), normal, uniform, degree, known)
        pixels: torch.Tensor = levels.to(torch.uint8) << (8 - self.model.num_bits)
        if first is not None:
            # As it was given, not rounded to levels.
            pixels[:, 0] = first.to(pixels.device)
        return pixels.transpose(1, 2).contiguous()

    # What goes in

    def _levels(self, video_BCTHW: torch.Tensor) -> torch.Tensor:
        return levels_of(video_BCTHW.transpose(1, 2).contiguous(), self.model.num_bits)

    def _told(self, batch: Batch) -> Told:
        """Return what the clips of a batch show, as the model takes it."""
        if self.model.label == "caption":
            return Told(batch.labels, batch.tokens, batch.lengths)
        if self.model.label == "none":
            return Told(batch.labels)
        if self.model.label_of == "meaning":
            return self._told_by([one if isinstance(one, str) else one[0] for one in batch.captions])
        if int(batch.labels.min()) < 0:
            clip = batch.keys[int(batch.labels.argmin())]
            raise RequestError(f"clip {clip} has no label; use model.label_of meaning, or model.label caption")
        return Told(batch.labels)

    def _told_by(self, captions: Sequence[str]) -> Told:
        """Return the same of captions; without ``meaning`` the caption of a clip with a label is that label."""
        numbers = [0] * len(captions)
        if self.model.label in ("image", "vector"):
            is_meaning = self.model.label_of == "meaning"
            numbers = [meaning_number(one) if is_meaning else self._label_number(one) for one in captions]
        labels = torch.tensor(numbers, device=self.setting.device)
        if self.model.label != "caption":
            return Told(labels)
        encoded = self.setting.vocabulary.encode_batch(captions)
        tokens = torch.from_numpy(encoded.tokens).to(self.setting.device)
        return Told(labels, tokens, torch.from_numpy(encoded.lengths))

    def _label_number(self, caption: str) -> int:
        """Return the place of the label that is, or that alone stands in, a caption."""
        labels = self.setting.labels
        # Moments in Time writes a label of several words with plus signs, and its caption with blanks.
        plain = [label.lower().replace("+", " ") for label in labels]
        words = {caption.lower(), *caption.lower().split()}
        whole = [place for place, label in enumerate(plain) if label == caption.lower()]
        found = whole or [place for place, label in enumerate(plain) if label in words]
        if len(found) != 1:
            close = nearest(caption, labels)
            hint = f"did you mean {close!r}?" if close else f"expected one of {len(labels)}, such as {', '.join(labels[:3])}"
            raise RequestError(f"{caption!r} is no label of the model's data; {hint}")
        return found[0]

    # Keeping

    def state_dict(self) -> dict[str, Any]:
        return {name: learner.state_dict() for name, learner in self.learners.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, learner in self.learners.items():
            learner.load_state_dict(state[name])
        self._is_measured = all(is_measured(learner.module) for learner in self.learners.values())
