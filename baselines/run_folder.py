"""The folder of a run: what experiment it is, on which data, and all that is needed to use its model without them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from baselines import recipe as recipes
from baselines.family import Setting
from baselines.recipe import Recipe
from t2vdata import storage
from t2vdata.bench import machine
from t2vdata.errors import OtherSpecError, RequestError
from t2vdata.text.vocabulary import Vocabulary

RECIPE, RUN, VOCABULARY = "recipe.yaml", "run.json", "vocabulary.json"


def begin(folder: Path, recipe: Recipe, setting: Setting, fingerprint: str, fps: float) -> None:
    """Write the whole recipe and the facts of its data, or see that the folder's are the same.

    Raises OtherSpecError, with the differences, for a folder that holds another run or none.
    """
    if (folder / RUN).exists():
        differences = list(_differences(read(folder).as_values(), recipe.as_values()))
        before = json.loads((folder / RUN).read_bytes())["fingerprint"]
        if before != fingerprint:
            differences.append(f"the dataset is {fingerprint[:12]}, was {before[:12]}")
        if differences:
            raise OtherSpecError(f"{folder} holds another run: {'; '.join(differences)}; choose another folder with --out")
    elif folder.exists() and any(folder.iterdir()):
        raise OtherSpecError(f"{folder} holds something that is no run; choose another folder with --out")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        setting.vocabulary.save(folder / VOCABULARY)
        facts = {
            "fingerprint": fingerprint, "seed": recipe.seed, "versions": machine.versions(), "shape": setting.shape, "fps": fps,
            "labels": setting.labels,
        }  # fmt: skip
        storage.write_whole(str(folder / RUN), json.dumps(facts, indent=1).encode())
    storage.write_whole(str(folder / RECIPE), yaml.safe_dump(recipe.as_values(), sort_keys=False).encode())


def read(folder: Path) -> Recipe:
    """Return the recipe of a run. Raises RequestError for a folder that holds none."""
    if not (folder / RECIPE).exists():
        raise RequestError(f"no run in {folder}; expected a folder that `python -m baselines.train` has written")
    return recipes.read(str(folder / RECIPE))


def read_setting(folder: Path, device: torch.device) -> tuple[Setting, float]:
    """Return what the model of a run works on, without its data, and the clips' frames per second."""
    facts = json.loads((folder / RUN).read_bytes())
    words = Vocabulary.load(folder / VOCABULARY)
    return Setting(words, tuple(facts["labels"]), tuple(facts["shape"]), device), facts["fps"]


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
