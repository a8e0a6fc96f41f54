"""Run the command line: as ``t2vdata``, or as ``python -m t2vdata``."""

from __future__ import annotations

import os
import signal
from typing import Any


def run() -> None:
    """Load the command line, then run it. Ctrl-C while it loads ends the process in one line, with 130."""
    # In a background job, SIGINT is ignored.
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, _end)
    from t2vdata.cli import main

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="t2vdata")


def _end(*_: Any) -> None:
    os.write(2, b"t2vdata: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    run()
