"""Print to the terminal; characters that a terminal obeys in captions, names and paths are shown as escapes."""

from __future__ import annotations

import click

from t2vdata.text.escapes import printable


def echo(text: object, *, err: bool = False) -> None:
    """Print a text on standard output or standard error."""
    click.echo(printable(text), err=err)
