"""Open the trained model of a run; its data is not needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines import family
from baselines.checkpoints import Checkpoints
from baselines.devices import choose_device, configure_torch
from baselines.distributed import ProcessGroup
from baselines.family import Trainer, TrainerSetup
from baselines.recipe import Recipe
from baselines.run_folder import RunFolder
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset, open_dataset


@dataclass(frozen=True)
class Trained:
    """The model of a run at one of its checkpoints."""

    recipe: Recipe
    setup: TrainerSetup
    trainer: Trainer
    step: int
    fps: float
    """Frames per second of its clips."""

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The dataset that it was trained on."""
        return open_dataset(self.recipe.data.path)


def open_run(path: Path, checkpoint: str = "best", *, device: str = "auto") -> Trained:
    """Return the model of a run at its ``best`` checkpoint, its ``last``, or that of a step.

    Raises RequestError for a missing run or checkpoint.
    """
    folder = RunFolder(path)
    recipe = folder.recipe()
    setup, fps = folder.trainer_setup(choose_device(device, ProcessGroup()))
    configure_torch(recipe.run)
    trainer = family.load(recipe.family).Trainer(recipe, setup)
    step, state = Checkpoints(folder.checkpoints).load(checkpoint)
    trainer.load_state_dict(state["trainer"])
    return Trained(recipe, setup, trainer, step, fps)


def check_words(model: Trained, captions: Sequence[str]) -> None:
    """Raise RequestError for a caption with a word outside the model's vocabulary."""
    vocabulary = model.setup.vocabulary
    for caption in captions:
        unknown = [word for word in vocabulary.tokenizer(caption) if word not in vocabulary.ids]
        if unknown:
            # The first four words are the special tokens.
            examples = ", ".join(vocabulary.words[4:16])
            raise RequestError(
                f"the model does not know {unknown[0]!r} of {caption!r}; "
                f"it knows {len(vocabulary) - 4} words, such as {examples}"
            )
