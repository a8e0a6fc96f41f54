"""How good a model is: whether its clips show what their captions ask for, and what else its family measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from baselines.family import Measured, Trainer
from baselines.pictures import as_clips
from baselines.randomness import Draws
from baselines.recipe import Recipe
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Batch, loader
from t2vdata.scoring import grammar
from t2vdata.scoring.score import Score, score
from t2vdata.text.vocabulary import Vocabulary

_AT_ONCE = 50


def clips(recipe: Recipe, dataset: Dataset, split: str, number: int, words: Vocabulary, *, seed: int = 0) -> list[Batch]:
    """Return clips of a split as the recipe's loader gives them, in batches: which ones, the seed decides."""
    size = min(number, len(dataset[split]))
    if not size:
        raise RequestError(
            f"split {split!r} of {dataset.path} has no clips to look at; name another, such as data.held_out=train"
        )
    spec = dataclasses.replace(recipe.load, batch_size=min(_AT_ONCE, size), drop_last=False, shuffle=True, flip=False)
    with loader(dataset[split], spec, vocabulary=words, seed=seed, rank=0, world=1) as reading:
        found, left = [], size
        for batch in reading:
            found.append(_first(batch, left))
            left -= len(found[-1])
            if left == 0:
                break
    return found


def captions_of(batches: Sequence[Batch]) -> list[str]:
    """Return a caption for each clip of some batches."""
    return [caption if isinstance(caption, str) else caption[0] for batch in batches for caption in batch.captions]


def sample(
    trainer: Trainer,
    captions: Sequence[str],
    *,
    seed: int,
    device: torch.device,
    temperature: float | None = None,
    first: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a clip for each caption, (N, C, T, H, W) uint8 on the CPU; what is random depends on the seed alone.

    ``temperature`` and ``first``, frames (N, C, H, W) uint8, are for families whose ``sample`` takes them.
    """
    made = []
    for start in range(0, len(captions), _AT_ONCE):
        draws, some = Draws(seed, start, use="sample", device=device), slice(start, start + _AT_ONCE)
        options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        options |= {} if first is None else {"first": first[some]}
        made.append(trainer.sample(captions[some], draws, **options).cpu())
    return torch.cat(made)


def judge(trainer: Trainer, batches: Sequence[Batch], *, seed: int, device: torch.device) -> dict[str, float]:
    """Return numbers by which a run is judged on its way: the score's shares, and what the trainer itself measures."""
    found: dict[str, float] = {}
    captions = captions_of(batches)
    if can_be_scored(captions):
        told = scored(trainer, captions, seed=seed, device=device)
        found |= {name: getattr(told, name).value for name in ("caption", "digit", "direction")}
        found |= {name: getattr(told, name) for name in ("constancy", "diversity") if getattr(told, name) is not None}
    return found | measured(trainer, batches, seed=seed, device=device)


def measured(trainer: Trainer, batches: Sequence[Batch], *, seed: int, device: torch.device) -> dict[str, float]:
    """Return what the model's family measures itself, if anything."""
    if not isinstance(trainer, Measured):
        return {}
    return trainer.evaluate((batch.to(device) for batch in batches), Draws(seed, use="evaluate", device=device))


def scored(trainer: Trainer, captions: Sequence[str], *, seed: int, device: torch.device) -> Score:
    """Return how well generated clips show their captions."""
    return score(as_clips(sample(trainer, captions, seed=seed, device=device)), captions)


def can_be_scored(captions: Sequence[str]) -> bool:
    """Return whether captions are those of one moving digit, so that the score knows what should be seen."""
    try:
        for caption in set(captions):
            grammar.meaning_of(caption)
    except RequestError:
        return False
    return True


def _first(batch: Batch, number: int) -> Batch:
    """Return the first clips of a batch, copied out of the loader's memory."""
    return Batch(
        video=batch.video[:number].clone(),
        captions=batch.captions[:number],
        keys=batch.keys[:number],
        labels=batch.labels[:number],
        tokens=None if batch.tokens is None else batch.tokens[:number],
        lengths=None if batch.lengths is None else batch.lengths[:number],
    )
