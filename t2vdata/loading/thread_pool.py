"""`ThreadPool`: threads that do not keep the interpreter from ending.

The threads of ``concurrent.futures`` are waited for before anything can tell them to stop: with a server that is silent, Ctrl-C
would end a program minutes later. These are ended by whoever owns them, at the latest by an exit handler.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class ThreadPool:
    """Runs functions in a fixed number of threads, in the order in which they were submitted."""

    def __init__(self, num_threads: int, *, name: str) -> None:
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_run, args=(self._queue,), name=f"{name}_{index}", daemon=True)
            for index in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()
        # Also when the pool is dropped without close.
        self._end = weakref.finalize(self, _end, self._queue, num_threads)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function with arguments in one of the threads."""
        future: Future[Any] = Future()
        self._queue.put((future, function, arguments))
        return future

    def close(self) -> None:
        """Cancel what was not started, and wait for the rest."""
        self._end()
        for thread in self._threads:
            thread.join()


_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


def _end(tasks: queue.SimpleQueue[_Task | None], num_threads: int) -> None:
    with contextlib.suppress(queue.Empty):
        while (task := tasks.get_nowait()) is not None:
            task[0].cancel()
    for _ in range(num_threads):
        tasks.put(None)


def _run(tasks: queue.SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        future, function, arguments = task
        if future.set_running_or_notify_cancel():
            try:
                result = function(*arguments)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        # Otherwise an idle thread keeps them alive.
        del task, future, function, arguments
