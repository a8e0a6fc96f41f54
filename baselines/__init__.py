"""Baseline models and the trainer they share; run from a checkout, ``python -m baselines.train recipes/x.yaml``.

A model family is a folder here, ``gan`` or ``glow``; a recipe names it. There is no base class. A family module offers

- ``SECTIONS``: {name of a section of the recipe: the frozen dataclass that it fills}, beside those that all recipes have;
- ``Trainer(recipe, setting)`` with

  - ``step(batches, draws)``: one update of all that learns; returns scalars to be logged;
  - ``sample(captions, draws)``: clips (N, C, T, H, W) uint8, one for each caption, of the averaged weights;
  - ``state_dict()``, ``load_state_dict(state)``: nested dicts and lists of tensors, numbers and texts;
  - and where it has a measure of its own, ``evaluate(batches, draws)``: {name: number}.

docs/recipes.md shows how one is added.
"""
