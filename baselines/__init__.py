"""Baseline models and the trainer they share; run from a checkout: ``python -m baselines.train recipes/x.yaml``.

A model family is a package here, ``gan`` or ``glow``, that a recipe names. There is no base class. A family's module offers

- ``SECTIONS``: {name of a recipe section: the frozen dataclass it fills}, besides the sections of every recipe;
- ``Trainer(recipe, setup)`` with

  - ``step(batches, random)``: one update of all networks; returns scalars to log;
  - ``sample(captions, random)``: clips (N, C, T, H, W) uint8, one per caption, from the averaged weights;
  - ``state_dict()``, ``load_state_dict(state)``: nested dicts and lists of tensors, numbers and strings;
  - optionally ``evaluate(batches, random)``: {metric: number}.

docs/recipes.md shows how to add one.
"""

from t2vdata import extras

extras.require("the package baselines", "baselines", "torch", "safetensors", "pydantic", "yaml", "tensorboard")
