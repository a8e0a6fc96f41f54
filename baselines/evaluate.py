"""``python -m baselines.evaluate RUN``: the table of a trained model, with the controls that say what its numbers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from baselines import evaluation
from baselines.command import run
from baselines.pictures import as_clips
from baselines.trained import Trained, open_run
from t2vdata import storage
from t2vdata.cli import _tables
from t2vdata.scoring import score
from t2vdata.scoring.quality import TRAINING_STEPS
from t2vdata.scoring.real import Real
from t2vdata.scoring.score import Full

_SEED = 3


def evaluate(
    trained: Trained, split: str, num_clips: int, *, gan_train_steps: int | None = None
) -> tuple[dict[str, Full], dict[str, float]]:
    """Return the scores of a model's clips and of the controls, and what the model's family measures, on a split.

    The model gets the captions of the real clips beside it, ``num_clips`` that are evenly chosen.
    """
    device = trained.setting.device
    batches = evaluation.clips(trained.recipe, trained.dataset, split, num_clips, trained.setting.vocabulary, seed=_SEED)
    found = evaluation.measured(trained.trainer, batches, seed=_SEED, device=device)
    if not evaluation.can_be_scored(evaluation.captions_of(batches)):
        return {}, found
    real = Real.of_dataset(trained.dataset.path, split, num_clips=num_clips)
    made = as_clips(evaluation.sample(trained.trainer, real.captions, seed=_SEED, device=device))
    return score.table({"model": (made, real.captions)}, real, gan_train_steps=gan_train_steps), found


def numbers(scores: dict[str, Full], found: dict[str, float]) -> dict[str, float]:
    """Return the model's numbers by their names, as columns of a table have them.

    ``caption_of_real`` and ``diversity_of_real`` are the model's over those of real clips.
    """
    told = {name: _plain(one) for name, one in scores.items()}
    made, real = told.get("model", {}), told.get("real", {})
    both = [name for name in ("caption", "diversity") if real.get(name) and name in made]
    return {**made, **{f"{name}_of_real": made[name] / real[name] for name in both}, **found}


def _plain(one: Full) -> dict[str, float]:
    """Return the numbers of a score without their intervals; parts of a part are named ``memory_ratio``."""
    plain: dict[str, float] = {}
    for name, value in one.as_json().items():
        if isinstance(value, dict) and "share" in value:
            plain[name] = value["share"]
        elif isinstance(value, dict):
            plain |= {f"{name}_{part}": number for part, number in value.items() if isinstance(number, float)}
        elif value is not None:
            plain[name] = value
    return plain


@click.command(epilog="Example: python -m baselines.evaluate runs/tgansc-mnist-motion-cpu --split test")
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Split whose captions and clips are taken.")
@click.option("--n", "number", type=click.IntRange(min=2), default=400, show_default=True, help="Clips.")
@click.option("--checkpoint", default="best", show_default=True, help="best, last or a step.")
@click.option("--gan-train", "with_gan_train", is_flag=True, help="Also train a classifier on each row's clips: minutes.")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(path: Path, split: str, number: int, checkpoint: str, with_gan_train: bool, device: str, as_json: bool) -> None:
    """Say how good the model of RUN is on clips it has not seen.

    What is printed is also written to RUN/evaluation-SPLIT.json.
    """
    trained = open_run(path, checkpoint, device=device)
    scores, found = evaluate(trained, split, number, gan_train_steps=TRAINING_STEPS if with_gan_train else None)
    written: dict[str, Any] = {
        "split": split,
        "clips": number,
        "step": trained.step,
        "numbers": numbers(scores, found),
        "scores": {name: one.as_json() for name, one in scores.items()},
    }
    storage.write_whole(str(path / f"evaluation-{split}.json"), json.dumps(written, indent=1).encode())
    if as_json:
        click.echo(json.dumps(written, indent=1))
        return
    click.echo(f"{path}, step {trained.step:,}, split {split}")
    if scores:
        _tables.print_scores(scores)
    for name, value in found.items():
        click.echo(f"{name}: {value:.4f}")


if __name__ == "__main__":
    run(command)
