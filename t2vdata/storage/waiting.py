"""Wait for a coroutine of a file system, but no longer than somebody needs its result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from t2vdata.errors import StoppedError

# How soon a wait ends after it was told to: far below the seconds that a user waits for Ctrl-C.
_POLL_SECONDS = 0.1

Answer = TypeVar("Answer")


def result_of(
    loop: asyncio.AbstractEventLoop,
    work: Callable[..., Coroutine[Any, Any, Answer]],
    *arguments: Any,
    stop: threading.Event | None = None,
) -> Answer:
    """Return the result of ``work(*arguments)`` on the loop of another thread.

    It is cancelled by an exception here, such as Ctrl-C. Raises StoppedError soon after ``stop`` is set.
    """
    future = asyncio.run_coroutine_threadsafe(work(*arguments), loop)
    try:
        while True:
            try:
                return future.result(_POLL_SECONDS)
            except TimeoutError:
                # The coroutine itself may have raised it.
                if future.done():
                    return future.result()
                if stop is not None and stop.is_set():
                    raise StoppedError("stopped while waiting for a server") from None
    except BaseException:
        future.cancel()
        raise
