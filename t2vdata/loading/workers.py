"""Decoding workers: threads of this process, or processes.

Threads suit decoders that release the GIL for most of their work, processes those that return to Python for each frame. Both
write into memory that this process maps. Worker processes receive plain numbers and return only failures and errors. A worker
whose parent has ended reads the end of its pipe and exits, which frees its memory.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from t2vdata.loading.buffers import BatchBuffers
from t2vdata.loading.decoding import Failure
from t2vdata.loading.thread_pool import ThreadPool
from t2vdata.processes import Child

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Workers(Protocol):
    """Decode clips into the slots of batch buffers."""

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        """Start to decode the clips of a job into a slot, from position ``first`` on; the future has those that failed."""

    def close(self) -> None:
        """End all workers and give up what they had started."""


class Decoder(Protocol):
    """Decodes the clips of a job into a batch, like ``BatchDecoder``."""

    def decode(self, batch: Any, job: NDArray[Any]) -> list[Failure]: ...


class Buffers(Protocol):
    """Buffers for batches, like ``BatchBuffers``."""

    def view(self, slot: int, shape: tuple[int, ...]) -> Any: ...


class ThreadWorkers:
    """Threads of this process."""

    def __init__(self, decoder: Decoder, buffers: Buffers, shape: tuple[int, ...], num_workers: int) -> None:
        self._decoder, self._buffers, self._shape = decoder, buffers, shape
        self._pool = ThreadPool(num_workers, name="t2vdata-load")

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        batch = self._buffers.view(slot, (first + len(job), *self._shape))
        return self._pool.submit(self._decoder.decode, batch[first:], job)

    def close(self) -> None:
        self._pool.close()


class ProcessWorkers:
    """Processes, each with a thread here that waits for its answers."""

    def __init__(self, setup: Mapping[str, Any], buffers: BatchBuffers, num_workers: int) -> None:
        """``setup`` is the first message to each worker, see worker_main.py."""
        self._children = [_start(setup, buffers) for _ in range(num_workers)]
        self._idle = list(self._children)
        self._lock = threading.Lock()
        self._pool = ThreadPool(num_workers, name="t2vdata-load")

    def start(self, slot: int, first: int, job: NDArray[Any]) -> Future[list[Failure]]:
        return self._pool.submit(self._decode, slot, first, job)

    def _decode(self, slot: int, first: int, job: NDArray[Any]) -> list[Failure]:
        """Have an idle worker decode a job. Raises what it raised, or WorkerDiedError when it died."""
        with self._lock:
            child = self._idle.pop()
        try:
            child.send({"slot": slot, "first": first}, job.view("u1"))
            return [Failure(*failure) for failure in child.receive().header["failures"]]
        finally:
            with self._lock:
                self._idle.append(child)

    def close(self) -> None:
        for child in self._children:
            child.kill()
        self._pool.close()
        for child in self._children:
            child.close()


def _start(setup: Mapping[str, Any], buffers: BatchBuffers) -> Child:
    child = Child(
        "t2vdata.loading.worker_main",
        name="a loading worker",
        advice="use fewer with Resources(workers=1), or threads with Resources(processes=False)",
        # One thread for OpenCV: there is already a worker for each core.
        environment={"OPENCV_FOR_THREADS_NUM": "1"},
        share_files=(buffers.file,),
    )
    child.send({**setup, "buffers_file": buffers.file})
    return child
