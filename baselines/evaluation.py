"""Evaluate a model: score its clips against their captions, and add the metrics of its family."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from baselines.family import SupportsEvaluate, Trainer
from baselines.pictures import as_clips
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Batch, loader
from t2vdata.scoring import grammar
from t2vdata.scoring.progress import Progress, silent, tracked
from t2vdata.scoring.score import Score, score
from t2vdata.text.vocabulary import Vocabulary

_BATCH_SIZE = 50


def read_clips(
    recipe: Recipe, dataset: Dataset, split: str, num_clips: int, vocabulary: Vocabulary, *, seed: int = 0
) -> list[Batch]:
    """Return clips of a split in batches, loaded as the recipe says; the seed determines which clips."""
    num_clips = min(num_clips, len(dataset[split]))
    if not num_clips:
        raise RequestError(f"split {split!r} of {dataset.path} has no clips; name another, such as data.held_out=train")
    batch_size = min(_BATCH_SIZE, num_clips)
    spec = dataclasses.replace(recipe.load, batch_size=batch_size, drop_last=False, shuffle=True, flip=False)
    batches, num_left = [], num_clips
    with loader(dataset[split], spec, vocabulary=vocabulary, seed=seed, rank=0, world=1) as reading:
        for batch in reading:
            batches.append(_first(batch, num_left))
            num_left -= len(batches[-1])
            if num_left == 0:
                break
    return batches


def captions_of(batches: Sequence[Batch]) -> list[str]:
    """Return one caption for each clip, its first."""
    return [caption if isinstance(caption, str) else caption[0] for batch in batches for caption in batch.captions]


def sample(
    trainer: Trainer,
    captions: Sequence[str],
    *,
    seed: int,
    device: torch.device,
    temperature: float | None = None,
    first: torch.Tensor | None = None,
    progress: Progress = silent,
) -> torch.Tensor:
    """Return a clip for each caption, (N, C, T, H, W) uint8 on the CPU, determined by the seed.

    ``temperature`` and ``first``, frames (N, C, H, W) uint8, are for families whose ``sample`` takes them.
    """
    clips = []
    progress("sampling clips", 0, len(captions))
    for start in range(0, len(captions), _BATCH_SIZE):
        random, rows = StepRandom(seed, start, purpose="sample", device=device), slice(start, start + _BATCH_SIZE)
        options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        options |= {} if first is None else {"first": first[rows]}
        clips.append(trainer.sample(captions[rows], random, **options).cpu())
        progress("sampling clips", min(start + _BATCH_SIZE, len(captions)), len(captions))
    return torch.cat(clips)


def evaluate(trainer: Trainer, batches: Sequence[Batch], *, seed: int, device: torch.device) -> dict[str, float]:
    """Return the metrics of an evaluation during training: shares of the score, and the metrics of the family."""
    metrics: dict[str, float] = {}
    captions = captions_of(batches)
    if can_be_scored(captions):
        result = score_samples(trainer, captions, seed=seed, device=device)
        metrics |= {name: getattr(result, name).value for name in ("caption", "digit", "direction")}
        metrics |= {name: getattr(result, name) for name in ("constancy", "diversity") if getattr(result, name) is not None}
    return metrics | family_metrics(trainer, batches, seed=seed, device=device)


def family_metrics(
    trainer: Trainer, batches: Sequence[Batch], *, seed: int, device: torch.device, progress: Progress = silent
) -> dict[str, float]:
    """Return the metrics of the model's family; empty if it has none."""
    if not isinstance(trainer, SupportsEvaluate):
        return {}
    random = StepRandom(seed, purpose="evaluate", device=device)
    tracked_batches = tracked(batches, len(batches), "computing the metrics of the family, in batches", progress)
    return trainer.evaluate((batch.to(device) for batch in tracked_batches), random)


def score_samples(trainer: Trainer, captions: Sequence[str], *, seed: int, device: torch.device) -> Score:
    """Return how well generated clips match their captions."""
    return score(as_clips(sample(trainer, captions, seed=seed, device=device)), captions)


def can_be_scored(captions: Sequence[str]) -> bool:
    """Return whether all captions are of one moving digit, as the score requires."""
    try:
        for caption in set(captions):
            grammar.meaning_of(caption)
    except RequestError:
        return False
    return True


def _first(batch: Batch, num_clips: int) -> Batch:
    """Return the first clips of a batch, copied out of the loader's buffers."""
    return Batch(
        video=batch.video[:num_clips].clone(),
        captions=batch.captions[:num_clips],
        keys=batch.keys[:num_clips],
        labels=batch.labels[:num_clips],
        tokens=None if batch.tokens is None else batch.tokens[:num_clips],
        lengths=None if batch.lengths is None else batch.lengths[:num_clips],
    )
