"""The engines of one machine: in this process, or in several.

``work`` is a function that is found by name in the workers; plans and reports are plain data. A worker that dies, by a
crash or for want of memory, is noticed at once and named with the plan that it had.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from t2vdata.errors import RequestError, WorkerDiedError
from t2vdata.processes import usable_cores

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Plan = TypeVar("Plan")
Report = TypeVar("Report")


def resolve_num_workers(requested: int | None) -> int:
    """Return the number of worker processes: the requested one, or one for each usable core. Raises RequestError below 1."""
    if requested is None:
        return usable_cores()
    if requested < 1:
        raise RequestError(f"--workers {requested}: expected 1 process or more")
    return requested


def run(work: Callable[[Plan], Report], plans: Iterable[Plan], *, num_workers: int) -> Generator[Report, None, None]:
    """Yield the report of each plan as it is done: in this process when ``num_workers`` is 1, else in so many processes."""
    return processes(work, plans, num_workers=num_workers) if num_workers > 1 else serial(work, plans)


def serial(work: Callable[[Plan], Report], plans: Iterable[Plan]) -> Generator[Report, None, None]:
    """Yield the report of each plan, one after the other, in this process."""
    for plan in plans:
        yield work(plan)


def processes(work: Callable[[Plan], Report], plans: Iterable[Plan], *, num_workers: int) -> Generator[Report, None, None]:
    """Yield the report of each plan as a worker process finishes it.

    Plans are drawn one for each free worker, so a long or lazy sequence of them is never held. An error in a worker is
    raised here with its traceback as a note. However this ends, no worker is left: an unfinished one is killed.
    """
    from multiprocessing import connection

    waiting = iter(plans)
    workers: dict[Any, _Worker] = {}
    try:
        for plan in waiting:
            worker = _Worker(work, plan)
            workers[worker.pipe] = worker
            if len(workers) == num_workers:
                break
        while workers:
            for pipe in connection.wait(list(workers)):
                worker = workers[pipe]
                report = worker.take()
                # Next plan first: the worker is busy while this process handles the report.
                for plan in waiting:
                    worker.give(plan)
                    break
                else:
                    del workers[pipe]
                    worker.dismiss()
                yield report
    finally:
        for worker in workers.values():
            worker.kill()


class _Worker:
    """A process that works on one plan at a time, at the other end of a pipe."""

    def __init__(self, work: Callable[[Any], Any], plan: Any) -> None:
        import multiprocessing

        # Spawned, not forked: decoders keep threads, and a forked copy of them hangs.
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(work, far_end), daemon=True)
        with _without_main_module(), _one_blas_thread(), _without_interrupts():
            self._process.start()
        far_end.close()
        self._plan = plan
        self.give(plan)

    def give(self, plan: Any) -> None:
        self._plan = plan
        # A worker that died between two plans is reported by take, which knows how it died.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send(plan)

    def take(self) -> Any:
        try:
            report, error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise WorkerDiedError(f"a worker {self._cause_of_death()} on {self._plan}; run the same command again") from None
        if error is not None:
            raise error
        return report

    def dismiss(self) -> None:
        self.pipe.close()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _cause_of_death(self) -> str:
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return "was killed (out of memory? try fewer --workers)"
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a spawned process from importing the user's script once more.

    Work is found by module and name, never in ``__main__``; so a script that calls us needs no ``if __name__`` guard.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Start a process whose BLAS has one thread: workers are the parallelism, and idle BLAS threads spin."""
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach before it has come to ignore it: the mask is inherited."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    # Ctrl-C reaches the whole process group; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # What is imported stays, and a shard is plain data without cycles: the collector need not look so often.
    gc.freeze()
    gc.set_threshold(50_000)
    while True:
        try:
            plan = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = (work(plan), None)
        except Exception as error:
            answer = (None, portable(error))
        pipe.send(answer)


def portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or one that says the same where it cannot be pickled. For workers."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker process:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own, just made
    except Exception:
        return RuntimeError(f"in a worker process:\n{trace}")
    return error


def _die_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
