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
@click.option("--n", type=int, default=400, show_default=True, help="Real clips to take of it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(path: str | None, captions: str | None, data: str | None, split: str, n: int, as_json: bool) -> None:
    """Say how often clips of moving digits show what their captions ask for.

    PATH is a folder of videos, GIFs and .npy files, or one .npy file of clips (N, T, H, W) or (N, T, H, W, C) uint8; the
    captions are those of mnist-motion with one digit. With --data, also real clips, as they are and with something taken away.
    """
    if path is None and data is None:
        raise click.UsageError("give it clips to score (PATH and --captions), --data for real ones, or both")
    if path is not None and captions is None:
        raise click.UsageError("say what the clips should show, with --captions FILE")
    from t2vdata.scoring import clips, score

    rows: dict[str, score.Score] = {}
    if path is not None and captions is not None:
        rows["yours"] = score.score(*clips.of_files(path, captions))
    if data is not None:
        rows |= score.controls(*clips.of_dataset(data, split, num_clips=n))
    if as_json:
        import json

        click.echo(json.dumps({name: one.as_json() for name, one in rows.items()}, indent=2))
        return
    from t2vdata.cli import _tables

    _tables.print_scores(rows)
