"""Exit codes and error reporting of the commands."""

from __future__ import annotations

import os
import shlex
import sys

import click

from baselines.console import echo
from baselines.interruption import InterruptedRunError
from t2vdata.errors import T2VError


def run(command: click.Command) -> None:
    """Run a command and exit: 0 success, 1 an error reported in one line, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.

    The message of an interrupted run ends with the command that resumes it.
    """
    try:
        command(standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except InterruptedRunError as error:
        if os.environ.get("RANK", "0") == "0":
            echo(f"{error}: {_same_command()}", err=True)
        sys.exit(128 + error.number)
    except T2VError as error:
        echo(f"baselines: {error}", err=True)
        sys.exit(1)


def _same_command() -> str:
    """Return the command line of this process, or that of torchrun, which started it."""
    module = sys.modules["__main__"].__spec__
    started = [sys.orig_argv[0]]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started = ["torchrun", "--nproc-per-node", os.environ["LOCAL_WORLD_SIZE"]]
    name = ["-m", module.name] if module is not None else []
    return shlex.join([*started, *name, *sys.argv[1:]])
