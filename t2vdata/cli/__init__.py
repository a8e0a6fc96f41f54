"""The command line: each command calls a function that Python users can call too.

Exit codes: 0 success, 1 an error in the data or the request, 2 wrong usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from t2vdata import __version__, extras
from t2vdata.cli._console import echo, print_safely
from t2vdata.errors import T2VError, nearest
from t2vdata.processes import reserve_standard_descriptors
from t2vdata.text.escapes import printable

# One module each, imported only when the command runs: --help stays fast.
COMMANDS = {
    "build": "Build a dataset into WebDataset shards.",
    "estimate": "Estimate how long a build takes on a cluster, and what limits it.",
    "datasets": "List the datasets that can be built, or describe one.",
    "stats": "Show statistics of a built dataset.",
    "diff": "Compare two builds of one dataset, and list the clips of both.",
    "verify": "Check a built dataset against its manifest.",
    "vocab": "Make a vocabulary, and count the unknown words of each split.",
    "show": "Draw clips of a dataset: a contact sheet or a GIF.",
    "score": "Check generated clips of moving digits against their captions.",
    "bench": "Measure how fast a dataset loads.",
    "doctor": "List the video decoders that work here, and their speed.",
}
SETTINGS = {"help_option_names": ["-h", "--help"], "terminal_width": 100, "max_content_width": 100}
INTERRUPTED = 130


class Commands(click.Group):
    """The commands of ``t2vdata``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"t2vdata.cli.{name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = nearest(args[0], COMMANDS)
            hint = f"did you mean {close!r}?" if close else f"expected one of {', '.join(COMMANDS)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _escaped_usage_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _escaped_usage_errors():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            # click itself would exit with 1.
            echo("t2vdata: interrupted", err=True)
            sys.exit(INTERRUPTED)

    def main(self, *args: Any, **extra: Any) -> Any:
        _open_standard_streams()
        print_safely()
        try:
            return super().main(*args, **extra)
        except T2VError as error:
            echo(f"t2vdata: {error}", err=True)
            sys.exit(1)
        except ModuleNotFoundError as error:
            missing = extras.explained(error, "this command")
            if missing is None:
                raise
            echo(f"t2vdata: {missing}", err=True)
            sys.exit(1)


@contextlib.contextmanager
def _escaped_usage_errors() -> Iterator[None]:
    """Escape the arguments that click quotes: names of files may be those of a stranger."""
    try:
        yield
    except click.ClickException as error:
        # Typed as final, but read only when the error is shown.
        error.message = printable(error.message)  # type: ignore[misc]
        raise


def _open_standard_streams() -> None:
    """Let what is printed to a standard stream vanish where it is closed, as in a daemon; Python has None there."""
    reserve_standard_descriptors()
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


@click.group(
    cls=Commands,
    context_settings=SETTINGS,
    epilog="Example: t2vdata build mnist-motion --n 40000",
)
@click.version_option(__version__, prog_name="t2vdata")
def main() -> None:
    """Datasets and loaders for text-to-video research."""
