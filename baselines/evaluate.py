"""``python -m baselines.evaluate RUN``: score a trained model, next to controls that put the numbers in context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from baselines import evaluation
from baselines.command import run
from baselines.console import echo
from baselines.pictures import as_clips
from baselines.run_folder import RunFolder
from baselines.trained import Trained, open_run
from t2vdata import storage
from t2vdata.cli.score import print_scores, show_progress
from t2vdata.scoring import score
from t2vdata.scoring.progress import Progress, silent
from t2vdata.scoring.quality import TRAINING_STEPS
from t2vdata.scoring.reference import ReferenceClips
from t2vdata.scoring.score import FullScore

_SEED = 3


def evaluate(
    model: Trained, split: str, num_clips: int, *, gan_train_steps: int | None = None, progress: Progress = silent
) -> tuple[dict[str, FullScore], dict[str, float]]:
    """Return the scores of a model's clips and of the controls, and the metrics of its family, on a split.

    The model gets the captions of the real clips that it is compared with: ``num_clips``, evenly spread over the split.
    """
    device = model.setup.device
    batches = evaluation.read_clips(model.recipe, model.dataset, split, num_clips, model.setup.vocabulary, seed=_SEED)
    metrics = evaluation.family_metrics(model.trainer, batches, seed=_SEED, device=device, progress=progress)
    if not evaluation.can_be_scored(evaluation.captions_of(batches)):
        return {}, metrics
    real = ReferenceClips.from_dataset(model.dataset.path, split, num_clips=num_clips, progress=progress)
    clips = as_clips(evaluation.sample(model.trainer, real.captions, seed=_SEED, device=device, progress=progress))
    return score.table({"model": (clips, real.captions)}, real, gan_train_steps=gan_train_steps, progress=progress), metrics


def model_numbers(scores: dict[str, FullScore], metrics: dict[str, float]) -> dict[str, float]:
    """Return the model's numbers by name, as tables use them for their columns.

    ``caption_of_real`` and ``diversity_of_real`` are the model's divided by those of real clips.
    """
    flat = {name: _flat(result) for name, result in scores.items()}
    model, real = flat.get("model", {}), flat.get("real", {})
    compared = [name for name in ("caption", "diversity") if real.get(name) and name in model]
    return {**model, **{f"{name}_of_real": model[name] / real[name] for name in compared}, **metrics}


def _flat(result: FullScore) -> dict[str, float]:
    """Return the numbers of a score without their intervals; nested ones are named like ``memory_ratio``."""
    flat: dict[str, float] = {}
    for name, value in result.as_json().items():
        if isinstance(value, dict) and "share" in value:
            flat[name] = value["share"]
        elif isinstance(value, dict):
            flat |= {f"{name}_{part}": number for part, number in value.items() if isinstance(number, float)}
        elif value is not None:
            flat[name] = value
    return flat


@click.command(epilog="Example: python -m baselines.evaluate runs/tgansc-mnist-motion-cpu --split test")
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Split of the captions and real clips.")
@click.option("--n", "num_clips", type=click.IntRange(min=2), default=400, show_default=True, help="Number of clips.")
@click.option("--checkpoint", default="best", show_default=True, help="Checkpoint: best, last or a step.")
@click.option(
    "--gan-train", "with_gan_train", is_flag=True, help="Also train a classifier on the clips of each row; takes minutes."
)
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(path: Path, split: str, num_clips: int, checkpoint: str, with_gan_train: bool, device: str, as_json: bool) -> None:
    """Evaluate the model of RUN on clips it was not trained on.

    The result is printed and written to RUN/evaluation-SPLIT.json.
    """
    model = open_run(path, checkpoint, device=device)
    steps = TRAINING_STEPS if with_gan_train else None
    with show_progress("evaluate") as progress:
        scores, metrics = evaluate(model, split, num_clips, gan_train_steps=steps, progress=progress)
    result: dict[str, Any] = {
        "split": split,
        "clips": num_clips,
        "step": model.step,
        "numbers": model_numbers(scores, metrics),
        "scores": {name: row.as_json() for name, row in scores.items()},
    }
    storage.write_whole(str(RunFolder(path).evaluation(split)), json.dumps(result, indent=1).encode())
    if as_json:
        echo(json.dumps(result, indent=1))
        return
    echo(f"{path}, step {model.step:,}, split {split}")
    if scores:
        print_scores(scores)
    for name, value in metrics.items():
        echo(f"{name}: {value:.4f}")


if __name__ == "__main__":
    run(command)
