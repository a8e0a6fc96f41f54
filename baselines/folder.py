"""The folder of a run: what experiment it is, and on which data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from baselines import recipe as recipes
from baselines.recipe import Recipe
from t2vdata import storage
from t2vdata.bench import machine
from t2vdata.dataset import Dataset
from t2vdata.errors import OtherSpecError, RequestError

RECIPE, RUN = "recipe.yaml", "run.json"


def begin(folder: Path, recipe: Recipe, dataset: Dataset) -> None:
    """Write the whole recipe and the facts of its data, or see that the folder's are the same.

    Raises OtherSpecError, with the differences, for a folder that holds another run or none.
    """
    facts = {"fingerprint": dataset.fingerprint, "seed": recipe.seed, "versions": machine.versions()}
    if (folder / RUN).exists():
        before = read(folder)
        differences = list(_differences(before.as_values(), recipe.as_values()))
        fingerprint = json.loads((folder / RUN).read_bytes())["fingerprint"]
        if fingerprint != dataset.fingerprint:
            differences.append(f"the dataset is {dataset.fingerprint[:12]}, was {fingerprint[:12]}")
        if differences:
            raise OtherSpecError(f"{folder} holds another run: {'; '.join(differences)}; choose another folder with --out")
    elif folder.exists() and any(folder.iterdir()):
        raise OtherSpecError(f"{folder} holds something that is no run; choose another folder with --out")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_whole(str(folder / RUN), json.dumps(facts, indent=1).encode())
    storage.write_whole(str(folder / RECIPE), yaml.safe_dump(recipe.as_values(), sort_keys=False).encode())


def read(folder: Path) -> Recipe:
    """Return the recipe of a run. Raises RequestError for a folder that holds none."""
    if not (folder / RECIPE).exists():
        raise RequestError(f"no run in {folder}; expected a folder that `python -m baselines.train` has written")
    return recipes.read(str(folder / RECIPE))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for section in before.keys() | now.keys():
        one, other = before.get(section), now.get(section)
        if not isinstance(one, dict) or not isinstance(other, dict):
            if one != other:
                yield f"{section} is {other!r}, was {one!r}"
            continue
        for name in one.keys() | other.keys():
            may_change = section == "run" and name in recipes.MAY_CHANGE
            if one.get(name) != other.get(name) and not may_change:
                yield f"{section}.{name} is {other.get(name)!r}, was {one.get(name)!r}"
