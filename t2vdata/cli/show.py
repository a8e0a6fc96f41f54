"""``t2vdata show``: draw clips of a dataset."""

from __future__ import annotations

import re

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo
from t2vdata.errors import RequestError
from t2vdata.text.escapes import one_line


@click.command("show", context_settings=SETTINGS, epilog="Example: t2vdata show data/mnist-motion --random 6 --out clips.gif")
@click.argument("path")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--split", help="Split to show.  [default: the first with clips]")
@click.option("--random", "num_random", type=int, help="Show this many random clips instead of the first four.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --random.")
@click.option("--out", type=click.Path(), help="Output file: .png or .gif.  [default: <dataset>.png]")
def command(path: str, keys: tuple[str, ...], split: str | None, num_random: int | None, seed: int, out: str | None) -> None:
    """Draw clips of the dataset at PATH: by KEY, or the first of a split.

    A .png is a contact sheet: a row per clip, frames from left to right, the caption below. A .gif is animated.
    """
    from t2vdata import storage
    from t2vdata.format.dataset import open_dataset
    from t2vdata.inspect import show

    dataset = open_dataset(path)
    items = show.choose(dataset, keys=keys, split=split, num_random=num_random, seed=seed)
    # A plain name, whatever the manifest says.
    target = out or f"{re.sub(r'[^A-Za-z0-9_-]+', '-', dataset.manifest.dataset).strip('-') or 'clips'}.png"
    if out is None and storage.exists(target):
        raise RequestError(f"{target} already exists; name the picture with --out")
    missing = show.write(items, target)
    for item in items:
        echo(f"{item.key}: {one_line(item.captions[0])}")
    echo(f"picture: {target}")
    if missing is not None:
        echo(f"note: {missing}", err=True)
