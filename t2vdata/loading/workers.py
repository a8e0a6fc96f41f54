"""Who decodes: threads of this process, or processes at the end of a pipe.

Threads suit decoders that let go of Python's lock for all of their work; processes suit those that come back to Python for
each frame. Both write into memory that this process sees. To a worker process go bytes of plain numbers, and JSON comes back:
nothing is pickled. A worker that loses this process reads the end of its pipe and ends; its memory ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any, Protocol

from t2vdata import errors
from t2vdata.engines.local import child_environment
from t2vdata.errors import WorkerDiedError
from t2vdata.loading.buffers import BatchMemory
from t2vdata.loading.decoding import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A job: slot, first place, number of clips, bytes of the decisions that follow. An answer: bytes of the JSON that follows.
JOB = struct.Struct("<qqqq")
ANSWER = struct.Struct("<q")


class Crew(Protocol):
    """Fills slots of batch memory."""

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        """Begin to put the clips of a job into a slot, from place ``first`` on; which of them failed comes with the future."""

    def close(self) -> None:
        """End all workers; what they had begun is given up."""


class Fills(Protocol):
    """Fills a batch with the clips of a job, as ``Filler`` does."""

    def fill(self, batch: Any, job: NDArray[Any]) -> list[Failure]: ...


class Views(Protocol):
    """Memory of batches, as ``BatchMemory``."""

    def view(self, slot: int, shape: tuple[int, ...]) -> Any: ...


class Threads:
    """Workers in this process."""

    def __init__(self, filler: Fills, memory: Views, shape: tuple[int, ...], num_workers: int) -> None:
        self._filler, self._memory, self._shape = filler, memory, shape
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="t2vdata-load")

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        batch = self._memory.view(slot, (first + len(job), *self._shape))
        return self._pool.submit(self._filler.fill, batch[first:], job)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class Processes:
    """Workers in processes of their own, each behind a thread that waits for it."""

    def __init__(self, setup: Mapping[str, Any], memory: BatchMemory, num_workers: int) -> None:
        """``setup`` is what ``t2vdata.loading.worker_main`` reads first, as JSON."""
        self._workers = [_Worker(setup, memory) for _ in range(num_workers)]
        self._idle = list(self._workers)
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="t2vdata-load")

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        return self._pool.submit(self._ask, slot, first, job)

    def _ask(self, slot: int, first: int, job: NDArray[Any]) -> list[Failure]:
        with self._lock:
            worker = self._idle.pop()
        try:
            return worker.fill(slot, first, job)
        finally:
            with self._lock:
                self._idle.append(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process of ``python -m t2vdata.loading.worker_main``."""

    def __init__(self, setup: Mapping[str, Any], memory: BatchMemory) -> None:
        job_end, job_start = os.pipe()
        answer_end, answer_start = os.pipe()
        # A session of its own: Ctrl-C is for this process, which then lets its workers go.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "t2vdata.loading.worker_main", str(job_end), str(answer_start), str(memory.file)],
            pass_fds=(job_end, answer_start, memory.file),
            stdin=subprocess.DEVNULL,
            # One thread for OpenCV: there is a worker for each core already.
            env=child_environment(OPENCV_FOR_THREADS_NUM="1"),
            start_new_session=True,
        )
        os.close(job_end)
        os.close(answer_start)
        self._jobs: IO[bytes] = os.fdopen(job_start, "wb")
        self._answers: IO[bytes] = os.fdopen(answer_end, "rb")
        with contextlib.suppress(BrokenPipeError):
            send(self._jobs, setup)

    def fill(self, slot: int, first: int, job: NDArray[Any]) -> list[Failure]:
        """Have the worker fill a slot. Raises what it raised, or WorkerDiedError when it is gone."""
        data = job.tobytes()
        try:
            self._jobs.write(JOB.pack(slot, first, len(job), len(data)) + data)
            self._jobs.flush()
            answer = receive(self._answers)
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = self._process.wait()
            raise WorkerDiedError(
                f"a loading worker (process {self._process.pid}) ended with {code}; is memory short? use fewer with "
                "Resources(workers=1), or threads with Resources(processes=False)"
            )
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        return [Failure(*failure) for failure in answer["failures"]]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        self._answers.close()


def send(pipe: IO[bytes], value: Mapping[str, Any]) -> None:
    """Write a JSON value with its size before it."""
    data = json.dumps(value).encode()
    pipe.write(ANSWER.pack(len(data)) + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read what ``send`` wrote; None when the other end is gone."""
    head = pipe.read(ANSWER.size)
    if len(head) < ANSWER.size:
        return None
    (size,) = ANSWER.unpack(head)
    data = pipe.read(size)
    return json.loads(data) if len(data) == size else None
