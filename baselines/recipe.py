"""Recipe dataclasses: everything that defines an experiment, as frozen specs.

Every recipe has the sections ``data``, ``load`` and ``run``; its model family adds its own. Read a recipe from YAML with
``recipe_file.read``.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from t2vdata.errors import RequestError
from t2vdata.loading import LoadSpec


@dataclass(frozen=True)
class DataSpec:
    """The clips a model is trained on."""

    path: str
    """Folder or URL of a built dataset."""
    split: str = "train"
    held_out: str = "val"
    """Split for pictures and for evaluations during training."""
    workers: int | None = None
    """Decoding threads or processes; null picks the fastest by measurement."""


@dataclass(frozen=True)
class RunSpec:
    """Length, device and output of a run."""

    steps: int
    """Total number of updates."""
    accumulate: int = 1
    """Batches whose gradients are accumulated into one update."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto picks cuda, then mps, then cpu."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: matrix products and convolutions run under autocast; weights, sums and likelihoods stay in float32."""
    compile: bool = False
    """Whether networks go through torch.compile."""
    threads: int | None = None
    """CPU threads of torch; null uses all cores available to the process. Another number rounds sums differently."""
    log_every: int = 50
    """Steps between lines of metrics.jsonl; each line holds means over the steps since the previous line."""
    picture_every: int | None = 1000
    """Steps between pictures of samples; null for none."""
    num_pictured: int = 8
    """Clips in a picture."""
    judge_every: int | None = None
    """Steps between evaluations on the held-out split; null for none."""
    num_judged: int = 200
    """Clips in an evaluation."""
    best: str | None = None
    """Evaluation metric that selects the best checkpoint, such as caption or bits_per_dim; null selects none."""
    best_is: Literal["highest", "lowest"] = "highest"
    checkpoint_every: int = 1000
    """Steps between checkpoints: the most that a killed run loses."""
    keep: int = 2
    """Number of newest checkpoints to keep, in addition to the best."""
    max_returns: int = 10
    """How often a diverging run may return to its last checkpoint before it fails."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "threads", "log_every", "picture_every", "num_pictured", "judge_every",
                     "num_judged", "checkpoint_every", "keep"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name} {value}: expected 1 or more")
        if self.checkpoint_every % self.log_every:
            raise RequestError(f"checkpoint_every {self.checkpoint_every}: expected a multiple of log_every, {self.log_every}")
        if self.judge_every is not None and self.judge_every % self.checkpoint_every:
            raise RequestError(
                f"judge_every {self.judge_every}: expected a multiple of checkpoint_every, {self.checkpoint_every}"
            )
        if self.best is not None and self.judge_every is None:
            raise RequestError(f"best {self.best!r} without judge_every; evaluations select the best checkpoint")


MAY_CHANGE = frozenset({"steps", "picture_every", "num_pictured", "keep", "max_returns"})
"""Fields of RunSpec that may change when a run resumes: they affect its length and its output, not its computations."""


@dataclass(frozen=True)
class Recipe:
    """A complete, validated recipe."""

    family: str
    """Package in ``baselines`` that holds the model, or the dotted path of your own module."""
    seed: int
    data: DataSpec
    load: LoadSpec
    run: RunSpec
    sections: Mapping[str, Any]
    """The family's own sections, by name."""

    def as_values(self) -> dict[str, Any]:
        """Return the recipe as YAML values, with every default filled in."""
        own = {name: dataclasses.asdict(section) for name, section in self.sections.items()}
        common = {name: dataclasses.asdict(getattr(self, name)) for name in COMMON_SECTIONS}
        values = {"family": self.family, "seed": self.seed, **common, **own}
        return typing.cast("dict[str, Any]", json.loads(json.dumps(values, default=plain)))


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's number, for json.dumps. Raises TypeError for anything else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a value of a recipe")


COMMON_SECTIONS: Mapping[str, type] = {"data": DataSpec, "load": LoadSpec, "run": RunSpec}
