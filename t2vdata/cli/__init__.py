"""The command line: a thin skin over functions that Python users call too.

Exit codes: 0 done, 1 an error in the data or the request, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from t2vdata import __version__
from t2vdata.errors import T2VError, nearest

# One file each; a verb's file is imported when it is called, so that --help answers at once.
VERBS = {
    "build": "Build a dataset into WebDataset shards.",
    "estimate": "Say how long a build would take on a cluster, and what would limit it.",
    "datasets": "List what can be built, or describe one dataset.",
    "stats": "Count what is in a built dataset.",
    "diff": "Compare two builds of one dataset, and list what both have.",
    "verify": "Check a built dataset against its manifest.",
    "vocab": "Make a vocabulary, and say how much of each split it knows.",
    "show": "Draw clips of a dataset: a contact sheet or a GIF.",
    "score": "Say how often clips of moving digits show what their captions ask for.",
    "bench": "Measure how fast a dataset is read into batches.",
    "doctor": "Say which video decoders work here, and how fast.",
}
SETTINGS = {"help_option_names": ["-h", "--help"], "terminal_width": 100, "max_content_width": 100}
INTERRUPTED = 130


class Verbs(click.Group):
    """The verbs of ``t2vdata``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"t2vdata.cli.{name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = nearest(args[0], VERBS)
            hint = f"did you mean {close!r}?" if close else f"there is {', '.join(VERBS)}"
            ctx.fail(f"no verb {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except T2VError as error:
            click.echo(f"t2vdata: {error}", err=True)
            sys.exit(1)


@click.group(
    cls=Verbs,
    context_settings=SETTINGS,
    epilog="Example: t2vdata build mnist-motion --n 40000",
)
@click.version_option(__version__, prog_name="t2vdata")
def main() -> None:
    """Datasets and loaders for text-to-video research."""
