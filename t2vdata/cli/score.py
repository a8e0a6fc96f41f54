"""``t2vdata score``: check generated clips against their captions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo_json
from t2vdata.cli._progress import stages

if TYPE_CHECKING:
    from t2vdata.scoring.progress import Progress
    from t2vdata.scoring.quality import Quality
    from t2vdata.scoring.score import FullScore, Proportion, Score


@click.command(
    "score",
    context_settings=SETTINGS,
    epilog="Example: t2vdata score samples.npy --captions captions.txt --data data/mnist-motion",
)
@click.argument("path", required=False)
@click.option(
    "--captions",
    type=click.Path(),
    help="Captions: a .csv or .jsonl with columns file and caption, or a .txt with one per line, in the order of the clips.",
)
@click.option("--data", type=click.Path(), help="A mnist-motion dataset; its real clips are scored too, as controls.")
@click.option("--split", default="test", show_default=True, help="Split of --data.")
@click.option("--n", type=click.IntRange(min=2), help="Number of real clips.  [default: as many as in PATH, or 400]")
@click.option(
    "--gan-train", "with_gan_train", is_flag=True, help="Also train a classifier on the clips of each row; takes minutes."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    path: str | None,
    captions: str | None,
    data: str | None,
    split: str,
    n: int | None,
    with_gan_train: bool,
    as_json: bool,
) -> None:
    """Check generated clips of moving digits against their captions.

    PATH is a folder of videos, GIFs and .npy files, or one .npy file of clips (N, T, H, W) or (N, T, H, W, C) uint8.
    A folder's clips are in the order of the numbers in their names; an uncertain order is refused.
    Captions are those of mnist-motion with one digit. With --data, real clips are scored too, unchanged and degraded, and
    all clips are compared with the training clips.
    """
    if path is None and data is None:
        raise click.UsageError("expected clips to score (PATH and --captions), --data for real clips, or both")
    if path is not None and captions is None:
        raise click.UsageError("PATH needs the captions of the clips; add --captions FILE")
    if with_gan_train and data is None:
        raise click.UsageError("--gan-train tests on real clips; name a dataset with --data")
    from t2vdata.scoring import clip_files, quality, score
    from t2vdata.scoring.reference import ReferenceClips

    with show_progress("score") as progress:
        yours = {}
        if path is not None and captions is not None:
            yours["yours"] = clip_files.read_files(path, captions, progress=progress)
        # By default as many as in PATH: the distances depend on the number of clips.
        num_real = max(2, n or (len(yours["yours"][1]) if yours else 400))
        real = None if data is None else ReferenceClips.from_dataset(data, split, num_clips=num_real, progress=progress)
        steps = quality.TRAINING_STEPS if with_gan_train else None
        rows = score.table(yours, real, gan_train_steps=steps, progress=progress)
    if as_json:
        echo_json({name: row.as_json() for name, row in rows.items()})
        return
    print_scores(rows)


def show_progress(task: str) -> AbstractContextManager[Progress]:
    """Show on standard error how far scoring is: a bar in a terminal, a line every few seconds elsewhere."""
    return stages(task)


def print_scores(rows: Mapping[str, FullScore]) -> None:
    """Print how well clips match their captions and how close they are to real ones, a row per set of clips."""
    from t2vdata.cli._console import console, table

    out = console()
    out.print(table(*_MATCH_COLUMNS, rows=[_match_row(name, row.match) for name, row in rows.items()]))
    out.print("caption with Wilson's interval of 95 %; by chance, 2.5 % are right\n")
    quality_rows = [_quality_row(name, row.quality) for name, row in rows.items()]
    # Columns without any number are left out: not asked for, or not possible without real clips.
    shown = [index for index in range(len(_QUALITY_COLUMNS)) if any(row[index] for row in quality_rows)]
    out.print(
        table(*(_QUALITY_COLUMNS[index] for index in shown), rows=[[row[index] for index in shown] for row in quality_rows])
    )
    if "real" in rows:
        out.print("Fréchet and MMD from training clips: `real` is the floor. nearest: 1 is like unseen handwriting, 0 a copy")


_MATCH_COLUMNS = ("clips", "n", "caption", "digit", "axis", "direction", "constancy", "no digit", "jitter", "diversity")
_QUALITY_COLUMNS = ("clips", "Fréchet", "MMD", "inception", "GAN-test", "GAN-train", "nearest", "copied")


def _match_row(name: str, match: Score) -> list[str]:
    return [
        name, f"{match.caption.num_clips:,}", _share(match.caption), f"{match.digit.value:.1%}", f"{match.axis.value:.1%}",
        f"{match.direction.value:.1%}", f"{match.constancy:.1%}", f"{match.no_digit:.1%}", f"{match.jitter:.1f} %",
        _number(match.diversity, ".1f"),
    ]  # fmt: skip


def _quality_row(name: str, quality: Quality) -> list[str]:
    memory = quality.memorization
    return [
        name,
        _number(quality.frechet, ".2f"),
        _number(quality.mmd, ".3f"),
        "" if quality.inception is None else f"{quality.inception[0]:.1f} ± {quality.inception[1]:.1f}",
        f"{quality.gan_test.value:.1%}",
        "" if quality.gan_train is None else f"{quality.gan_train.value:.1%}",
        *(("", "") if memory is None else (f"{memory.ratio:.2f}", f"{memory.copied.value:.1%}")),
    ]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _share(proportion: Proportion) -> str:
    low, high = proportion.interval
    return f"{proportion.value:.1%} ({100 * low:.0f}-{100 * high:.0f})"
