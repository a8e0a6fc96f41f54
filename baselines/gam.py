"""``python -m baselines.gam RUN OTHER``: two GANs change their discriminators; whose samples fool more?"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from baselines import evaluation
from baselines.command import run
from baselines.family import Judging, Trainer
from baselines.trained import Trained, open_run
from t2vdata.errors import RequestError
from t2vdata.scoring.gam import TOLERANCE, Errors, Verdict, gam

_SEED, _AT_ONCE = 4, 50


def errors(judge: Judging, real: torch.Tensor, rival: torch.Tensor, captions: list[str]) -> Errors:
    """Return how often a discriminator is wrong on real clips and on a rival's, (N, C, T, H, W) uint8, with their captions."""

    def takes_for_real(video: torch.Tensor) -> torch.Tensor:
        parts = range(0, len(video), _AT_ONCE)
        return torch.cat([judge.realness(video[at : at + _AT_ONCE], captions[at : at + _AT_ONCE]) for at in parts]) > 0

    return Errors.of(takes_for_real(real).cpu().numpy(), takes_for_real(rival).cpu().numpy())


def duel(first: Trained, second: Trained, split: str, num_clips: int, *, tolerance: float = TOLERANCE) -> Verdict:
    """Return the verdict of the Generative Adversarial Metric over real clips of a split and samples for their captions.

    Raises RequestError where the two saw other data, or a discriminator judges real clips better than the other.
    """
    if first.dataset.fingerprint != second.dataset.fingerprint or first.setting.shape != second.setting.shape:
        raise RequestError("the two runs have other data or clips of another size; expected two runs on the same clips")
    batches = evaluation.clips(first.recipe, first.dataset, split, num_clips, first.setting.vocabulary, seed=_SEED)
    captions, real = evaluation.captions_of(batches), torch.cat([batch.video for batch in batches])
    made = [evaluation.sample(one.trainer, captions, seed=_SEED, device=one.setting.device) for one in (first, second)]
    judges = [_judging(one.trainer) for one in (first, second)]
    found = [errors(judge, real, rival, captions) for judge, rival in zip(judges, reversed(made), strict=True)]
    return gam(*found, tolerance=tolerance)


def _judging(trainer: Trainer) -> Judging:
    if not isinstance(trainer, Judging):
        raise RequestError(f"a {type(trainer).__module__} has no discriminator; expected a run of a GAN")
    return trainer


@click.command(epilog="Example: python -m baselines.gam runs/one runs/other --split test")
@click.argument("one", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Split whose captions and real clips are taken.")
@click.option("--n", "number", default=400, show_default=True, help="Clips.")
@click.option("--tolerance", default=TOLERANCE, show_default=True, help="Around 1, in which ratios count as 1.")
@click.option("--checkpoint", default="best", show_default=True, help="best, last or a step, of both.")
@click.option("--device", default="auto", show_default=True)
def command(one: Path, other: Path, split: str, number: int, tolerance: float, checkpoint: str, device: str) -> None:
    """Compare two GANs by the Generative Adversarial Metric.

    Each discriminator judges the other's samples; they must be equally good on real clips.
    """
    first, second = (open_run(path, checkpoint, device=device) for path in (one, other))
    verdict = duel(first, second, split, number, tolerance=tolerance)
    told = "a tie" if verdict.winner is None else f"{(one, other)[verdict.winner - 1]} wins"
    click.echo(f"{told}: ratio of errors on samples {verdict.sample_ratio:.3g}, on real clips {verdict.test_ratio:.3g}")


if __name__ == "__main__":
    run(command)
