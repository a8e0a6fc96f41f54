"""Engines for one machine: ``serial`` in this process, ``processes`` in several.

``work`` is a function that workers find by name; plans and reports are plain data. A worker that is killed, by the kernel for
lack of memory or by anybody, is replaced; if that happens repeatedly, it is reported with the plan that it was working on.
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
from t2vdata.processes import describe_exit, reserve_standard_descriptors, usable_cores
from t2vdata.processes.start import leave_safe_path, without_current_folder

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

# A plan whose workers were killed this often is given up: it may take more memory than there is.
_MAX_KILLS = 4

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
    """Yield the report of each plan: from this process if ``num_workers`` is 1, else from that many worker processes."""
    return processes(work, plans, num_workers=num_workers) if num_workers > 1 else serial(work, plans)


def serial(work: Callable[[Plan], Report], plans: Iterable[Plan]) -> Generator[Report, None, None]:
    """Yield the report of each plan, one after the other, in this process."""
    for plan in plans:
        yield work(plan)


def processes(work: Callable[[Plan], Report], plans: Iterable[Plan], *, num_workers: int) -> Generator[Report, None, None]:
    """Yield the report of each plan as a worker process finishes it.

    A plan is taken from ``plans`` when a worker is free, so a long or lazy sequence is never held in memory. A worker that was
    killed is replaced, and its plan is worked on again: ``work`` must allow that. An error in a worker is raised here with its
    traceback as a note. However this ends, no worker remains: unfinished workers are killed.

    Raises WorkerDiedError when a worker ends by itself, or when the workers of one plan were killed repeatedly.
    """
    from multiprocessing import connection

    remaining = iter(plans)
    workers: dict[Any, _Worker] = {}
    try:
        for plan in remaining:
            worker = _Worker(work, plan)
            workers[worker.pipe] = worker
            if len(workers) == num_workers:
                break
        while workers:
            for pipe in connection.wait(list(workers)):
                worker = workers[pipe]
                try:
                    report = worker.receive()
                except _KilledError as killed:
                    del workers[pipe]
                    worker = worker.replaced(killed)
                    workers[worker.pipe] = worker
                    continue
                # Next plan first, so that the worker is busy while this process handles the report.
                for plan in remaining:
                    worker.send(plan)
                    break
                else:
                    del workers[pipe]
                    worker.stop()
                yield report
    finally:
        for worker in workers.values():
            worker.kill()


class _KilledError(Exception):
    """A worker was ended by a signal."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Worker:
    """A process that works on one plan at a time, at the other end of a pipe."""

    def __init__(self, work: Callable[[Any], Any], plan: Any, *, num_killed: int = 0) -> None:
        # Else the pipe may become the standard input of the worker.
        reserve_standard_descriptors()
        self._work = work
        self.pipe, self._process = _start(work)
        self.send(plan)
        self._num_killed = num_killed
        """How many workers were killed while they worked on this plan."""

    def send(self, plan: Any) -> None:
        self._plan = plan
        self._num_killed = 0
        # A worker that died between two plans is reported by receive, which knows how it died.
        with contextlib.suppress(ConnectionError):
            self.pipe.send(plan)

    def receive(self) -> Any:
        """Return the report. Raises what the worker raised, _KilledError when it was killed, WorkerDiedError when it ended."""
        try:
            report, error = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            self.pipe.close()
            code = self._process.exitcode or 0
            if code < 0:
                raise _KilledError(describe_exit(code)) from None
            raise WorkerDiedError(
                f"a worker ended with {describe_exit(code)} on {self._plan}; run the same command again"
            ) from None
        if error is not None:
            raise error
        return report

    def replaced(self, killed: _KilledError) -> _Worker:
        """Return a new worker for the plan of this one, which was killed. Raises WorkerDiedError if that is too often."""
        num_killed = self._num_killed + 1
        if num_killed == _MAX_KILLS:
            hint = " (out of memory? try fewer --workers)" if killed.cause == "SIGKILL" else ""
            raise WorkerDiedError(
                f"{num_killed} workers in a row were ended by {killed.cause}{hint} on {self._plan}; run the same command again"
            )
        return _Worker(self._work, self._plan, num_killed=num_killed)

    def stop(self) -> None:
        self.pipe.close()
        self._process.join()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _start(work: Callable[[Any], Any]) -> tuple[Connection, SpawnProcess]:
    """Start a process that works on plans; return the pipe to it, and the process."""
    import multiprocessing

    # Spawned, not forked: decoders keep threads, and forked copies of them hang.
    context = multiprocessing.get_context("spawn")
    for attempt in range(_MAX_KILLS):
        pipe, far_end = context.Pipe()
        process = context.Process(target=_serve, args=(work, far_end), daemon=True)
        try:
            with _without_main_module(), _one_blas_thread(), _without_interrupts(), without_current_folder():
                process.start()
        except OSError as error:
            pipe.close()
            # Killed before it had read what to do.
            if not isinstance(error, BrokenPipeError) or attempt == _MAX_KILLS - 1:
                raise WorkerDiedError(f"a worker does not start: {error.strerror or error}; try fewer --workers") from error
        else:
            return pipe, process
        finally:
            far_end.close()
    raise AssertionError


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a spawned process from importing the user's script again.

    Work is found by module and name, never in ``__main__``, so scripts that build need no ``if __name__`` guard.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Start a process with one BLAS thread: the workers run in parallel, and idle BLAS threads would spin."""
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
    """Start a process that ignores Ctrl-C from its first moment: the signal mask is inherited."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    leave_safe_path()
    # Ctrl-C reaches the whole process group; the parent decides when the workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Imported modules stay, and a shard is plain data without cycles: collecting less often saves time.
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
    """Return an error of a worker with its traceback as a note, or as a RuntimeError if it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker process:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:
        return RuntimeError(f"in a worker process:\n{trace}")
    return error


def _die_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
