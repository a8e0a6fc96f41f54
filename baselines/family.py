"""The interface between a model family and the training loop."""

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

from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from t2vdata import plugins
from t2vdata.errors import RequestError, unknown_name
from t2vdata.loading import Batch
from t2vdata.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TrainerSetup:
    """The facts about data and device that a trainer needs."""

    vocabulary: Vocabulary
    labels: tuple[str, ...]
    """The name of each label in ``Batch.labels``."""
    shape: tuple[int, int, int, int]
    """(C, T, H, W) of every clip."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    """Makes a context in which matrix products may run in bfloat16, if the recipe asks for it."""
    rank: int = 0
    world: int = 1


class Trainer(Protocol):
    """A model and how it is trained."""

    def step(self, batches: Sequence[Batch], random: StepRandom) -> dict[str, torch.Tensor]:
        """Run one update on one or more batches, on the setup's device; return scalars to log."""
        ...

    def sample(self, captions: Sequence[str], random: StepRandom) -> torch.Tensor:
        """Return a clip for each caption, (N, C, T, H, W) uint8.

        Keyword-only arguments of a family become command-line options, see ``sample_options``: ``temperature``, from 0 for
        the most likely clips upwards; ``first``, first frames that clips continue, (N, C, H, W) uint8.
        """
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Family(Protocol):
    """The module of a model family."""

    SECTIONS: Mapping[str, type]
    Trainer: Callable[[Recipe, TrainerSetup], Trainer]


@runtime_checkable
class SupportsEvaluate(Protocol):
    """A trainer with metrics of its own, such as the likelihood of clips."""

    def evaluate(self, batches: Iterable[Batch], random: StepRandom) -> dict[str, float]: ...


@runtime_checkable
class HasDiscriminator(Protocol):
    """A trainer with a discriminator."""

    def realness(self, video: torch.Tensor, captions: Sequence[str]) -> torch.Tensor:
        """Return scores (N,) of clips (N, C, T, H, W) uint8 with their captions; above 0 means real."""
        ...


def sample_options(trainer: Trainer) -> list[str]:
    """Return the keyword-only arguments of a trainer's ``sample``."""
    parameters = inspect.signature(trainer.sample).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def names() -> list[str]:
    """Return the names of the built-in families: the packages beside this file."""
    return sorted(entry.name for entry in pkgutil.iter_modules([str(Path(__file__).parent)]) if entry.ispkg)


def load(name: str) -> Family:
    """Return the module of a family: a package in ``baselines``, or the dotted path of your own module.

    Raises UnknownNameError for an unknown name, RequestError for a module that is not a family.
    """
    if "." not in name and name not in names():
        raise unknown_name("family", name, names())
    path = name if "." in name else f"baselines.{name}"
    module = plugins.import_module(path)
    missing = [attribute for attribute in ("SECTIONS", "Trainer") if not hasattr(module, attribute)]
    if missing:
        raise RequestError(f"{name} is not a model family: it lacks {', '.join(missing)}; see docs/recipes.md")
    return cast(Family, module)
