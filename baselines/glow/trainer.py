"""The trainer of a video Glow: updates, evaluation and sampling.

Shapes: B clips, T frames, C channels, H rows, W columns; K chosen later frames of each clip.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch

from baselines.family import TrainerSetup
from baselines.glow import likelihood
from baselines.glow.context import ContextProcessor
from baselines.glow.dequantisation import to_levels
from baselines.glow.frame_flow import Conditioning, FrameFlow
from baselines.glow.labels import NUM_MEANINGS, meaning_label
from baselines.glow.layers import data_dependent_init, is_initialised
from baselines.glow.spec import EvaluationSpec, LossSpec, ModelSpec
from baselines.glow.video import VideoGlow, build
from baselines.learner import Learner
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.errors import RequestError, nearest
from t2vdata.loading import Batch

# Clips per evaluation batch, and clips that are reconstructed to check the inverse.
_EVALUATION_BATCH_SIZE, _NUM_RECONSTRUCTED = 8, 2


class Trainer:
    """Head, tail and state, each with its optimiser; the loss of later frames is backpropagated through tail and state."""

    def __init__(self, recipe: Recipe, setup: TrainerSetup) -> None:
        self.setup = setup
        self.model: ModelSpec = recipe.sections["model"]
        self.loss: LossSpec = recipe.sections["loss"]
        self.evaluation: EvaluationSpec = recipe.sections["evaluation"]
        num_channels, num_frames, height, width = setup.shape
        self.num_frames = min(num_frames, self.loss.frames or num_frames)
        if self.num_frames < 2:
            raise RequestError(f"clips of {num_frames} frame: a video Glow needs 2 or more; set load.num_frames")
        if self.model.label in ("image", "vector") and self.model.label_of == "label" and not setup.labels:
            raise RequestError("model.label_of label: the dataset has no labels; use meaning, or model.label caption")
        self.glow = build(
            (num_channels, height, width), self.model, recipe.sections["head"], recipe.sections["tail"],
            num_frames=self.num_frames, num_labels=len(setup.labels), num_words=len(setup.vocabulary),
        )  # fmt: skip
        parts = {"head": self.glow.head, "tail": self.glow.tail, "state": self.glow.state}
        self.learners = {
            name: Learner(part.to(setup.device), recipe.sections[f"{name}_optimiser"], world=setup.world)
            for name, part in parts.items()
            if part is not None
        }
        self.num_dimensions = num_channels * height * width
        self._is_initialised = False
        if recipe.run.compile:
            for part in (self.glow.head, self.glow.tail):
                part.compile()

    @property
    def averaged(self) -> VideoGlow:
        """The model with averaged weights."""
        parts = {name: learner.averaged.eval() for name, learner in self.learners.items()}
        head, tail = cast(FrameFlow, parts["head"]), cast(FrameFlow, parts["tail"])
        return VideoGlow(self.model, head, tail, cast("ContextProcessor | None", parts.get("state")))

    # Training

    def step(self, batches: Sequence[Batch], random: StepRandom) -> dict[str, torch.Tensor]:
        """Update every part once; return the bits per dimension of first and later frames, and the gradient norms."""
        scalars: dict[str, torch.Tensor] = {}
        for part in self.glow.parts():
            part.train()
        is_check_due = self.learners["head"].num_updates % self.loss.reconstruct_every == 0
        for index, batch in enumerate(batches):
            levels_BTCHW, conditioning = self.levels(batch.video)[:, : self.num_frames], self.conditioning(batch)
            noise_BTCHW = likelihood.noise_for(self.glow, levels_BTCHW, random)
            self._initialise(levels_BTCHW, noise_BTCHW, conditioning)
            bits = self._backward(levels_BTCHW, noise_BTCHW, conditioning, random, len(batches))
            for name, value in bits.items():
                scalars[name] = scalars.get(name, torch.zeros_like(value)) + value / len(batches)
            if is_check_due and index == len(batches) - 1:
                scalars["reconstruction"] = self._reconstruction_error(levels_BTCHW, noise_BTCHW, conditioning)
        return scalars | {f"norm/{name}": learner.update() for name, learner in self.learners.items()}

    def _backward(
        self,
        levels_BTCHW: torch.Tensor,
        noise_BTCHW: torch.Tensor,
        conditioning: Conditioning,
        random: StepRandom,
        num_batches: int,
    ) -> dict[str, torch.Tensor]:
        """Add the gradient of a batch's share of the loss; return its bits per dimension."""
        chosen_BK = self.choose_later(levels_BTCHW, random)
        with self.setup.autocast():
            result = self.glow.log_probabilities(levels_BTCHW, noise_BTCHW, conditioning, chosen_BK)
        bits = {"bits_per_dim/head": self._bits(result.first), "bits_per_dim/tail": self._bits(result.later)}
        loss = bits["bits_per_dim/head"] + bits["bits_per_dim/tail"]
        if self.loss.unit == "nats":
            loss = loss * (math.log(2) * self.num_dimensions)
        torch.autograd.backward(loss / num_batches)
        return {name: value.detach() for name, value in bits.items()}

    def choose_later(self, levels_BTCHW: torch.Tensor, random: StepRandom) -> torch.Tensor | None:
        """Return the later frames of each clip to learn in this step (B, K), as indices from 0; None for all."""
        if self.loss.tail_frames is None:
            return None
        return random.uniform(len(levels_BTCHW), levels_BTCHW.shape[1] - 1).argsort(dim=1)[:, : self.loss.tail_frames]

    def _bits(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        return -log_probabilities.mean() / (math.log(2) * self.num_dimensions)

    def _initialise(self, levels_BTCHW: torch.Tensor, noise_BTCHW: torch.Tensor, conditioning: Conditioning) -> None:
        """Initialise every ActNorm from the first batch of the run."""
        if self._is_initialised:
            return
        with torch.no_grad(), contextlib.ExitStack() as stack, self.setup.autocast():
            for learner in self.learners.values():
                stack.enter_context(data_dependent_init(learner.module))
            # It runs only once, so compiling it would not pay off.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            self.glow.log_probabilities(levels_BTCHW, noise_BTCHW, conditioning)
        for learner in self.learners.values():
            if learner.averaged is not learner.module:
                learner.averaged.load_state_dict(learner.module.state_dict())
        self._is_initialised = True

    @torch.no_grad()
    def _reconstruction_error(
        self, levels_BTCHW: torch.Tensor, noise_BTCHW: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        """Return the largest error of a pixel after the flow and its inverse, over a few clips."""
        levels_BTCHW, noise_BTCHW = levels_BTCHW[:_NUM_RECONSTRUCTED], noise_BTCHW[:_NUM_RECONSTRUCTED]
        conditioning = conditioning.rows(0, _NUM_RECONSTRUCTED)
        head_context = self.glow.head.encode(conditioning)
        head = self.glow.head.reconstruction_error(levels_BTCHW[:, 0], noise_BTCHW[:, 0], head_context)
        later = self.glow.later_frames(levels_BTCHW, noise_BTCHW, conditioning)
        tail = self.glow.tail.reconstruction_error(later.levels, later.noise, later.context)
        return torch.maximum(head, tail)

    # Evaluation

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], random: StepRandom) -> dict[str, float]:
        """Return bits per dimension and nats per frame of whole clips, the settings they depend on, and their limits."""
        glow, sums = self.averaged, likelihood.LikelihoodSums()
        for batch in batches:
            batch_levels_BTCHW, batch_conditioning = self.levels(batch.video), self.conditioning(batch)
            for start, stop in likelihood.spans(len(batch_levels_BTCHW), _EVALUATION_BATCH_SIZE):
                levels_BTCHW, conditioning = batch_levels_BTCHW[start:stop], batch_conditioning.rows(start, stop)
                num_draws = self.evaluation.noise_draws
                noises = [likelihood.noise_for(glow, levels_BTCHW, random) for _ in range(num_draws)]
                with self.setup.autocast():
                    sums.add(likelihood.log_probabilities(glow, levels_BTCHW, conditioning, noises))
                    num_left = self.evaluation.label_clips - len(sums.label_nats)
                    if num_left > 0 and self._num_labels is not None:
                        information_B = likelihood.label_information(
                            glow, levels_BTCHW[:num_left], conditioning.rows(0, num_left), noises[0][:num_left],
                            self._num_labels,
                        )  # fmt: skip
                        sums.label_nats += information_B.tolist()
        num_channels, _, height, width = self.setup.shape
        settings = {
            "num_bits": self.model.num_bits, "dimensions": self.num_dimensions, "noise_draws": self.evaluation.noise_draws
        }  # fmt: skip
        metrics = sums.metrics(self.num_dimensions) | {name: float(value) for name, value in settings.items()}
        return metrics | dict(likelihood.limits(self.evaluation, (num_channels, height, width), self._num_labels))

    @property
    def _num_labels(self) -> int | None:
        if self.model.label not in ("image", "vector"):
            return None
        return NUM_MEANINGS if self.model.label_of == "meaning" else len(self.setup.labels)

    # Sampling

    @torch.no_grad()
    def sample(
        self,
        captions: Sequence[str],
        random: StepRandom,
        *,
        temperature: float | None = None,
        first: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return a clip for each caption, (N, C, T, H, W) uint8.

        ``temperature`` defaults to the recipe's. ``first`` has first frames that clips continue, (N, C, H, W) uint8.
        """
        temperature = self.evaluation.temperature if temperature is None else temperature
        num_channels, num_frames, height, width = self.setup.shape
        if first is not None and first.shape != (expected := (len(captions), num_channels, height, width)):
            raise RequestError(f"first frames of {tuple(first.shape)}; expected {expected}: one for each caption")
        normal_BTD = random.normal(len(captions), num_frames, self.num_dimensions)
        uniform_BT = random.uniform(len(captions), num_frames)
        first_levels = None if first is None else to_levels(first.to(self.setup.device), self.model.num_bits)
        with self.setup.autocast():
            conditioning = self._conditioning_of(captions)
            levels_BTCHW = self.averaged.sample(conditioning, normal_BTD, uniform_BT, temperature, first_levels)
        pixels_BTCHW: torch.Tensor = levels_BTCHW.to(torch.uint8) << (8 - self.model.num_bits)
        if first is not None:
            # Unchanged, not rounded to levels.
            pixels_BTCHW[:, 0] = first.to(pixels_BTCHW.device)
        return pixels_BTCHW.transpose(1, 2).contiguous()

    # Inputs

    def levels(self, video_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return the levels of clips, (B, T, C, H, W) float32."""
        return to_levels(video_BCTHW.transpose(1, 2).contiguous(), self.model.num_bits)

    def conditioning(self, batch: Batch) -> Conditioning:
        """Return the conditioning of a batch's clips, in the form that the model takes."""
        if self.model.label == "caption":
            return Conditioning(batch.labels, batch.tokens, batch.lengths)
        if self.model.label == "none":
            return Conditioning(batch.labels)
        if self.model.label_of == "meaning":
            return self._conditioning_of([caption if isinstance(caption, str) else caption[0] for caption in batch.captions])
        if int(batch.labels.min()) < 0:
            key = batch.keys[int(batch.labels.argmin())]
            raise RequestError(f"clip {key} has no label; use model.label_of meaning, or model.label caption")
        return Conditioning(batch.labels)

    def _conditioning_of(self, captions: Sequence[str]) -> Conditioning:
        """Return the conditioning of captions; unless ``label_of`` is meaning, a label's caption is the label itself."""
        numbers = [0] * len(captions)
        if self.model.label in ("image", "vector"):
            label_of = meaning_label if self.model.label_of == "meaning" else self._label_in
            numbers = [label_of(caption) for caption in captions]
        labels = torch.tensor(numbers, device=self.setup.device)
        if self.model.label != "caption":
            return Conditioning(labels)
        encoded = self.setup.vocabulary.encode_batch(captions)
        tokens = torch.from_numpy(encoded.tokens).to(self.setup.device)
        return Conditioning(labels, tokens, torch.from_numpy(encoded.lengths))

    def _label_in(self, caption: str) -> int:
        """Return the index of the label that equals the caption, or else of the only label that is one of its words."""
        # Moments in Time joins the words of a label by plus signs, and those of its caption by spaces.
        labels = [label.lower().replace("+", " ") for label in self.setup.labels]
        words = {caption.lower(), *caption.lower().split()}
        equal = [index for index, label in enumerate(labels) if label == caption.lower()]
        matches = equal or [index for index, label in enumerate(labels) if label in words]
        if len(matches) != 1:
            close = nearest(caption, self.setup.labels)
            examples = ", ".join(self.setup.labels[:3])
            hint = f"did you mean {close!r}?" if close else f"expected one of {len(labels)}, such as {examples}"
            raise RequestError(f"{caption!r} is not a label of the model's data; {hint}")
        return matches[0]

    # State

    def state_dict(self) -> dict[str, Any]:
        return {name: learner.state_dict() for name, learner in self.learners.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, learner in self.learners.items():
            learner.load_state_dict(state[name])
        self._is_initialised = all(is_initialised(learner.module) for learner in self.learners.values())
