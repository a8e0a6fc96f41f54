"""What a child process runs first: the ``main`` of the module that ``Child`` named."""

from __future__ import annotations

import importlib
import os
import threading

from t2vdata.processes.channel import Channel


def leave_with_parent(channel: Channel) -> None:
    """End this process when its parent has ended, even while it is busy, or hangs."""

    def wait() -> None:
        channel.wait_for_end()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


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
