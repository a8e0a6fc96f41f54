"""Engines for one machine: ``serial`` in this process, ``processes`` in several.

``work`` is a function that workers find by name; plans and reports are plain data. A worker that is killed, by the kernel for
lack of memory or by anybody, is replaced; if that happens repeatedly, it is reported with the plan that it was working on.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from t2vdata.errors import RequestError, WorkerDiedError
from t2vdata.processes import Child, describe_exit, usable_cores

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
    remaining = iter(plans)
    workers: set[_Worker] = set()
    with selectors.DefaultSelector() as selector:
        try:
            for plan in remaining:
                worker = _Worker(work, selector)
                workers.add(worker)
                worker.give(plan)
                if len(workers) == num_workers:
                    break
            while workers:
                for key, _ in selector.select():
                    worker = key.data
                    try:
                        report = worker.receive()
                    except _KilledError as killed:
                        worker.start_again(killed)
                        continue
                    # Next plan first, so that the worker is busy while this process handles the report.
                    for plan in remaining:
                        worker.give(plan)
                        break
                    else:
                        workers.remove(worker)
                        worker.stop()
                    yield report
        finally:
            for worker in workers:
                worker.kill()


class _KilledError(Exception):
    """A worker was ended by a signal."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _Worker:
    """A process that works on one plan at a time."""

    def __init__(self, work: Callable[[Any], Any], selector: selectors.BaseSelector) -> None:
        self._work, self._selector = pickle.dumps(work), selector
        self._plan: Any = None
        self._num_killed = 0
        """How many processes were killed while they worked on this plan."""
        self._has_process = False
        self._start()

    def give(self, plan: Any) -> None:
        """Give the process its next plan."""
        self._plan, self._num_killed = plan, 0
        self._child.send({}, pickle.dumps(plan))

    def receive(self) -> Any:
        """Return the report. Raises what the worker raised, _KilledError when it was killed, WorkerDiedError when it ended."""
        try:
            message = self._child.receive()
        except WorkerDiedError as death:
            returncode = self._child.wait()
            if returncode < 0:
                raise _KilledError(describe_exit(returncode)) from None
            how, _, advice = str(death).rpartition("; ")
            raise WorkerDiedError(f"{how} on {self._plan}; {advice}") from None
        report, error = pickle.loads(message.payload)  # noqa: S301  # our own
        if error is not None:
            raise error
        return report

    def start_again(self, killed: _KilledError) -> None:
        """Start a new process for the plan. Raises WorkerDiedError if too many were killed on it."""
        self._num_killed += 1
        if self._num_killed == _MAX_KILLS:
            hint = " (out of memory? try fewer --workers)" if killed.cause == "SIGKILL" else ""
            raise WorkerDiedError(
                f"{self._num_killed} workers in a row were ended by {killed.cause}{hint} on {self._plan}; run the same command "
                "again"
            )
        self.kill()
        self._start()
        self._child.send({}, pickle.dumps(self._plan))

    def stop(self) -> None:
        """Let the process end, which has nothing left to do."""
        self._selector.unregister(self._child)
        self._child.stop()

    def kill(self) -> None:
        if self._has_process:
            self._has_process = False
            self._selector.unregister(self._child)
            self._child.close()

    def _start(self) -> None:
        # In the process group of this process: what stops or kills the group, as Ctrl-Z does, means the workers too.
        with _without_interrupts():
            self._child = Child(
                "t2vdata.engines.worker_main",
                name="a worker",
                advice="run the same command again",
                # The workers run in parallel, and idle BLAS threads would spin.
                environment={"OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1")},
                own_session=False,
            )
        self._selector.register(self._child, selectors.EVENT_READ, self)
        self._has_process = True
        self._child.send({}, self._work)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start a process that ignores Ctrl-C from its first moment: the signal mask is inherited."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def portable(error: Exception) -> Exception:
    """Return an error of a worker with its traceback as a note, or as a RuntimeError if it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker process:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:
        return RuntimeError(f"in a worker process:\n{trace}")
    return error
