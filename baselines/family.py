"""What a model family and the loop know of one another."""

from __future__ import annotations

import contextlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch

from baselines.randomness import Draws
from baselines.recipe import Recipe
from t2vdata import plugins
from t2vdata.errors import RequestError, unknown_name
from t2vdata.loading import Batch
from t2vdata.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Setting:
    """Where a trainer works, and on what."""

    vocabulary: Vocabulary
    labels: tuple[str, ...]
    """The label of each number in ``Batch.labels``."""
    shape: tuple[int, int, int, int]
    """(C, T, H, W) of every clip."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    """A context in which matrix products may be of bfloat16, where the recipe says so."""
    rank: int = 0
    world: int = 1


class Trainer(Protocol):
    """A model that learns."""

    def step(self, batches: Sequence[Batch], draws: Draws) -> dict[str, torch.Tensor]:
        """Update all that learns once, by one or more batches on the setting's device; return scalars to be logged."""
        ...

    def sample(self, captions: Sequence[str], draws: Draws) -> torch.Tensor:
        """Return a clip for each caption, (N, C, T, H, W) uint8.

        A family may take more by name, see ``sample_options``: ``temperature``, a number from 0, at which clips are the most
        likely ones; ``first``, first frames that clips go on from, (N, C, H, W) uint8.
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Family(Protocol):
    """A family module."""

    SECTIONS: Mapping[str, type]
    Trainer: Callable[[Recipe, Setting], Trainer]


@runtime_checkable
class Measured(Protocol):
    """A trainer with a measure of its own, such as the likelihood of clips."""

    def evaluate(self, batches: Iterable[Batch], draws: Draws) -> dict[str, float]: ...


@runtime_checkable
class Judging(Protocol):
    """A trainer with a discriminator."""

    def realness(self, video: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Return (N,) scores of clips (N, C, T, H, W) uint8 with their captions: over 0 is taken for real."""
        ...


def sample_options(trainer: Trainer) -> list[str]:
    """Return what a trainer's ``sample`` takes by name alone, beside captions and draws."""
    parameters = inspect.signature(trainer.sample).parameters.values()
    return [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]


def names() -> list[str]:
    """Return the families that there are: the folders beside this file."""
    return sorted(entry.name for entry in pkgutil.iter_modules([str(Path(__file__).parent)]) if entry.ispkg)


def load(name: str) -> Family:
    """Return the module of a family: a folder here, or the dotted path of a module of your own.

    Raises UnknownNameError for one that is not there, RequestError for a module that is no family.
    """
    if "." not in name and name not in names():
        raise unknown_name("family", name, names())
    path = name if "." in name else f"baselines.{name}"
    module = plugins.imported(path)
    lacking = [part for part in ("SECTIONS", "Trainer") if not hasattr(module, part)]
    if lacking:
        raise RequestError(f"{name} is no family: it has no {', '.join(lacking)}; see docs/recipes.md")
    return cast(Family, module)
