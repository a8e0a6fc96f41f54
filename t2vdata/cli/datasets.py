"""``t2vdata datasets``"""

from __future__ import annotations

import textwrap

import click

from t2vdata import datasets
from t2vdata.cli import SETTINGS


@click.command("datasets", context_settings=SETTINGS, epilog="Example: t2vdata datasets mnist-motion")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List what can be built; with NAME, what it is, what raw files it needs, licence and citation."""
    if name is None:
        width = max(map(len, datasets.names()))
        for known in datasets.names():
            summary = (datasets.load(known).__doc__ or "").strip().split("\n")[0]
            click.echo(f"{known:{width}}  {summary}")
        click.echo("\n`t2vdata datasets NAME` says more; `t2vdata build NAME --help` has its options.")
        return
    dataset = datasets.load(name)
    click.echo(f"{name} (version {dataset.VERSION}), splits: {', '.join(dataset.SPLITS)}\n")
    click.echo((dataset.__doc__ or "").strip())
    click.echo(f"\nRaw files: {getattr(dataset, 'RAW_FILES', 'none; the data is made by the build')}")
    if hasattr(dataset, "TREE"):
        click.echo("\n" + textwrap.indent(dataset.TREE.strip("\n"), "  ") + "\n")
    click.echo(f"Licence: {dataset.LICENCE}")
    click.echo(f"Citation: {dataset.CITATION}")
    click.echo(f"Build it: t2vdata build {name} {getattr(dataset, 'EXAMPLE', '')}".rstrip())
