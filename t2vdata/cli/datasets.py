"""``t2vdata datasets``: list the datasets, or describe one."""

from __future__ import annotations

import textwrap

import click

from t2vdata import datasets
from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo


@click.command("datasets", context_settings=SETTINGS, epilog="Example: t2vdata datasets mnist-motion")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the datasets that can be built; with NAME, describe one: raw files, licence, citation and command."""
    if name is None:
        width = max(map(len, datasets.names()))
        for known_name in datasets.names():
            summary = datasets.load(known_name).description().split("\n")[0]
            echo(f"{known_name:{width}}  {summary}")
        echo("\n`t2vdata datasets NAME` describes one; `t2vdata build NAME --help` lists its options.")
        return
    dataset = datasets.load(name)
    echo(f"{name} (version {dataset.VERSION}), splits: {', '.join(dataset.SPLITS)}\n")
    echo(dataset.description())
    echo(f"\nRaw files: {dataset.RAW_FILES}")
    if dataset.TREE:
        echo("\n" + textwrap.indent(dataset.TREE.strip("\n"), "  ") + "\n")
    echo(f"Licence: {dataset.LICENCE}")
    echo(f"Citation: {dataset.CITATION}")
    echo(f"Build it: t2vdata build {name} {dataset.EXAMPLE}".rstrip())
