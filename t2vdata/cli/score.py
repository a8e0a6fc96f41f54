"""``t2vdata score``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


@click.command(
    "score",
    context_settings=SETTINGS,
    epilog="Example: t2vdata score samples.npy --captions captions.txt --data data/mnist-motion",
)
@click.argument("path", required=False)
@click.option(
    "--captions", type=click.Path(), help="A caption a line (.txt), or a .csv or .jsonl with the columns file, caption."
)
@click.option("--data", type=click.Path(), help="A mnist-motion dataset, whose real clips are scored beside as controls.")
@click.option("--split", default="test", show_default=True, help="Split of --data.")
@click.option("--n", type=click.IntRange(min=2), help="Real clips to take of it.  [as many as yours, or 400]")
@click.option("--gan-train", "with_gan_train", is_flag=True, help="Also train a classifier on each row's clips: minutes.")
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
    """Say how often clips of moving digits show what their captions ask for.

    PATH is a folder of videos, GIFs and .npy files, or one .npy file of clips (N, T, H, W) or (N, T, H, W, C) uint8; the
    captions are those of mnist-motion with one digit. With --data, also real clips, as they are and with something taken away,
    and how near all of them are to the training clips.
    """
    if path is None and data is None:
        raise click.UsageError("give it clips to score (PATH and --captions), --data for real ones, or both")
    if path is not None and captions is None:
        raise click.UsageError("say what the clips should show, with --captions FILE")
    if with_gan_train and data is None:
        raise click.UsageError("--gan-train tests on real clips; name a dataset of them with --data")
    from t2vdata.scoring import clips, quality, score
    from t2vdata.scoring.real import Real

    yours = {"yours": clips.of_files(path, captions)} if path is not None and captions is not None else {}
    # As many as yours: the distances depend on how many clips there are.
    number = n or (len(yours["yours"][1]) if yours else 400)
    real = None if data is None else Real.of_dataset(data, split, num_clips=max(2, number))
    rows = score.table(yours, real, gan_train_steps=quality.TRAINING_STEPS if with_gan_train else None)
    if as_json:
        import json

        click.echo(json.dumps({name: one.as_json() for name, one in rows.items()}, indent=2))
        return
    from t2vdata.cli import _tables

    _tables.print_scores(rows)
