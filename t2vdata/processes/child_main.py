"""What a child process runs first: the ``main`` of the module that ``Child`` named."""

from __future__ import annotations

import importlib

from t2vdata.processes.channel import Channel


def run_child(module: str, receiving: int, sending: int) -> None:
    """Run ``main(channel)`` of a module; report what it raises to the parent.

    An OSError or MemoryError while the module is imported propagates: the process cannot start here, and says so.
    """
    channel = Channel(receiving, sending)
    with channel.reporting_errors():
        try:
            run = importlib.import_module(module).main
        except (OSError, MemoryError) as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error
        run(channel)
