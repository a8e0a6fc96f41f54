"""The folder of a run: its recipe, the facts of its data, and everything needed to use its model without that data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import torch
import yaml

from baselines import recipe_file
from baselines.family import TrainerSetup
from baselines.recipe import MAY_CHANGE, Recipe
from t2vdata import storage
from t2vdata.bench import machine
from t2vdata.errors import DataError, OtherSpecError, RequestError, StorageError
from t2vdata.text.vocabulary import Vocabulary

_RECIPE, _FACTS, _VOCABULARY = "recipe.yaml", "run.json", "vocabulary.json"


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.path / _RECIPE).exists()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    def evaluation(self, split: str) -> Path:
        """Return the path of the model's evaluation on a split."""
        return self.path / f"evaluation-{split}.json"

    def create(self, recipe: Recipe, setup: TrainerSetup, fingerprint: str, fps: float) -> None:
        """Write the recipe and the facts of the data; in an existing run, check that they are the same.

        Raises OtherSpecError, with the differences, for a folder that holds another run or other files.
        """
        if (self.path / _FACTS).exists():
            self._check_same(recipe, fingerprint)
        else:
            # The facts come first: a folder with them is a run, even if it was killed before the next file.
            self._make()
            facts = {
                "fingerprint": fingerprint, "seed": recipe.seed, "versions": machine.versions(), "shape": setup.shape,
                "fps": fps, "labels": setup.labels,
            }  # fmt: skip
            storage.write_whole(str(self.path / _FACTS), json.dumps(facts, indent=1).encode())
        if not (self.path / _VOCABULARY).exists():
            setup.vocabulary.save(self.path / _VOCABULARY)
        storage.write_whole(str(self.path / _RECIPE), yaml.safe_dump(recipe.as_values(), sort_keys=False).encode())

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Hidden files may be those of a write that was killed.
            is_free = all(entry.name.startswith(".") for entry in self.path.iterdir())
        except OSError as error:
            raise StorageError(f"cannot write to {self.path}: {error.strerror}; choose another folder with --out") from error
        if not is_free:
            raise OtherSpecError(f"{self.path} holds files that are not a run; choose another folder with --out")

    def recipe(self) -> Recipe:
        """Return the recipe of the run. Raises RequestError for a folder without one."""
        if not self.exists:
            raise RequestError(f"no run in {self.path}; expected a folder written by `python -m baselines.train`")
        return recipe_file.read(str(self.path / _RECIPE))

    def trainer_setup(self, device: torch.device) -> tuple[TrainerSetup, float]:
        """Return the setup of the run's trainer, without reading its data, and the clips' frames per second."""
        facts = self._facts()
        vocabulary = Vocabulary.load(self.path / _VOCABULARY)
        return TrainerSetup(vocabulary, facts.labels, facts.shape, device), facts.fps

    def _facts(self) -> _Facts:
        path = self.path / _FACTS
        try:
            return pydantic.TypeAdapter(_Facts).validate_json(path.read_bytes(), strict=True)
        except (OSError, pydantic.ValidationError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, OSError) else _first_mistake(error)
            raise DataError(f"{path} is damaged: {reason}; copy it from a backup, or train into another folder") from error

    def _check_same(self, recipe: Recipe, fingerprint: str) -> None:
        differences = list(_differences(self.recipe().as_values(), recipe.as_values())) if self.exists else []
        before = self._facts().fingerprint
        if before != fingerprint:
            differences.append(f"the dataset is {fingerprint[:12]}, was {before[:12]}")
        if differences:
            raise OtherSpecError(f"{self.path} holds another run: {'; '.join(differences)}; choose another folder with --out")


@dataclass(frozen=True)
class _Facts:
    """What run.json has of the data; other fields are for the reader."""

    fingerprint: str
    shape: tuple[int, int, int, int]
    fps: float
    labels: tuple[str, ...]


def _first_mistake(error: pydantic.ValidationError) -> str:
    mistake = error.errors()[0]
    return ": ".join(filter(None, [".".join(map(str, mistake["loc"])), mistake["msg"]]))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for section in before.keys() | now.keys():
        old, new = before.get(section), now.get(section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                yield f"{section} is {new!r}, was {old!r}"
            continue
        for name in old.keys() | new.keys():
            may_change = section == "run" and name in MAY_CHANGE
            if old.get(name) != new.get(name) and not may_change:
                yield f"{section}.{name} is {new.get(name)!r}, was {old.get(name)!r}"
