"""A model that was trained, open for use: nothing of its data is needed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from baselines import family, run_folder
from baselines.checkpoints import Checkpoints
from baselines.distributed import Ranks
from baselines.family import Setting, Trainer
from baselines.loop import chosen_device, set_up_torch
from baselines.recipe import Recipe
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset, open_dataset


@dataclass(frozen=True)
class Trained:
    """A run's model at one of its checkpoints."""

    recipe: Recipe
    setting: Setting
    trainer: Trainer
    step: int
    fps: float
    """Frames per second of its clips."""

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data that it was trained on."""
        return open_dataset(self.recipe.data.path)


def open_run(path: Path, checkpoint: str = "best", *, device: str = "auto") -> Trained:
    """Return the model of a run, at its ``best`` or ``last`` checkpoint or that of a step.

    Raises RequestError where there is no such run or checkpoint.
    """
    recipe = run_folder.read(path)
    where = chosen_device(device, Ranks())
    setting, fps = run_folder.read_setting(path, where)
    set_up_torch(recipe.run)
    trainer = family.load(recipe.family).Trainer(recipe, setting)
    step, state = Checkpoints(path / "checkpoints").load(checkpoint)
    trainer.load_state_dict(state["trainer"])
    return Trained(recipe, setting, trainer, step, fps)


def check_words(run: Trained, captions: list[str]) -> None:
    """Raise RequestError for a caption with a word that the model has never seen: it would not know what is asked for."""
    known = run.setting.vocabulary
    for caption in captions:
        strange = [word for word in known.tokenizer(caption) if word not in known.ids]
        if strange:
            few = ", ".join(known.words[4:16])
            raise RequestError(
                f"the model does not know {strange[0]!r} of {caption!r}; it knows {len(known) - 4} words, such as {few}"
            )
