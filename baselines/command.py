"""Exit codes and error reporting of the commands."""

from __future__ import annotations

import sys

import click

from t2vdata.errors import T2VError


def run(command: click.Command) -> None:
    """Run a command and exit: 0 success, 1 an error reported in one line, 2 wrong usage, 130 interrupted by Ctrl-C."""
    try:
        command(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except T2VError as error:
        click.echo(f"baselines: {error}", err=True)
        sys.exit(1)
