"""``python -m baselines.gam RUN OTHER``: compare two GANs by letting each discriminator judge the other's samples."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from baselines import evaluation
from baselines.command import run
from baselines.console import echo
from baselines.family import HasDiscriminator, Trainer
from baselines.trained import Trained, open_run
from t2vdata.cli.score import show_progress
from t2vdata.errors import RequestError
from t2vdata.scoring.gam import TOLERANCE, Errors, GamResult, gam
from t2vdata.scoring.progress import Progress, silent, tracked

_SEED, _BATCH_SIZE = 4, 50


def errors(
    trainer: HasDiscriminator, real: torch.Tensor, rival: torch.Tensor, captions: list[str], *, progress: Progress = silent
) -> Errors:
    """Return the error rates of a discriminator on real clips and on a rival's, (N, C, T, H, W) uint8, with their captions."""

    def is_taken_for_real(video: torch.Tensor) -> torch.Tensor:
        parts = [slice(start, start + _BATCH_SIZE) for start in range(0, len(video), _BATCH_SIZE)]
        tracked_parts = tracked(parts, len(parts), "judging clips, in batches", progress)
        return torch.cat([trainer.realness(video[part], captions[part]) for part in tracked_parts]) > 0

    return Errors.of(is_taken_for_real(real).cpu().numpy(), is_taken_for_real(rival).cpu().numpy())


def compare(
    first: Trained,
    second: Trained,
    split: str,
    num_clips: int,
    *,
    tolerance: float = TOLERANCE,
    progress: Progress = silent,
) -> GamResult:
    """Return the verdict of the Generative Adversarial Metric over real clips of a split and samples for their captions.

    Raises RequestError if the runs have different data, or if one discriminator is better on real clips than the other.
    """
    if first.dataset.fingerprint != second.dataset.fingerprint or first.setup.shape != second.setup.shape:
        raise RequestError("the two runs have different data or clip sizes; expected two runs on the same clips")
    batches = evaluation.read_clips(first.recipe, first.dataset, split, num_clips, first.setup.vocabulary, seed=_SEED)
    captions, real = evaluation.captions_of(batches), torch.cat([batch.video for batch in batches])
    runs = (first, second)
    trainers = [require_discriminator(run.trainer) for run in runs]
    samples = [evaluation.sample(run.trainer, captions, seed=_SEED, device=run.setup.device, progress=progress) for run in runs]
    pairs = zip(trainers, reversed(samples), strict=True)
    rates = [errors(trainer, real, rival, captions, progress=progress) for trainer, rival in pairs]
    return gam(*rates, tolerance=tolerance)


def require_discriminator(trainer: Trainer) -> HasDiscriminator:
    """Return the trainer. Raises RequestError if it has no discriminator."""
    if not isinstance(trainer, HasDiscriminator):
        raise RequestError(f"{type(trainer).__module__} has no discriminator; expected a run of a GAN")
    return trainer


@click.command(epilog="Example: python -m baselines.gam runs/tgansc-0 runs/tgansc-1 --split test")
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("other", metavar="OTHER", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Split of the captions and real clips.")
@click.option("--n", "num_clips", default=400, show_default=True, help="Number of clips.")
@click.option("--tolerance", default=TOLERANCE, show_default=True, help="Distance from 1 up to which a ratio counts as a tie.")
@click.option("--checkpoint", default="best", show_default=True, help="Checkpoint of both runs: best, last or a step.")
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or mps.")
def command(path: Path, other: Path, split: str, num_clips: int, tolerance: float, checkpoint: str, device: str) -> None:
    """Compare two GANs by the Generative Adversarial Metric.

    Each discriminator judges the other's samples. Both must be equally good on real clips.
    """
    paths = (path, other)
    first, second = (open_run(path, checkpoint, device=device) for path in paths)
    with show_progress("gam") as progress:
        verdict = compare(first, second, split, num_clips, tolerance=tolerance, progress=progress)
    result = "a tie" if verdict.winner is None else f"{paths[verdict.winner - 1]} wins"
    echo(f"{result}: ratio of errors on samples {verdict.sample_ratio:.3g}, on real clips {verdict.test_ratio:.3g}")


if __name__ == "__main__":
    run(command)
