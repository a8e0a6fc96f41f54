"""Decode untrusted media files in a separate process: a file that hangs, crashes or eats memory costs only its own clip.

Each process that builds keeps one helper process, started when it first decodes and again whenever the helper has died. Only
JSON and pixels cross the pipes. The helper (sandbox_main.py) has a memory limit, writes no file and opens no connection.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError, WorkerDiedError
from t2vdata.media.clip_request import ClipRequest
from t2vdata.processes import Child, Message, NoAnswerError, describe_exit
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Limit of address space; Python, NumPy and FFmpeg take about 1 GiB of it before they decode anything.
MEMORY_GIGABYTES = 4
# A compromised helper must not make this process allocate without bound; real headers take less than a kilobyte.
_MAX_HEADER_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Ranged:
    """A remote file: the helper, which has no network, asks this process for each range that it reads."""

    name: str
    """Distinguishes it from other files."""
    num_bytes: int
    read: Callable[[int, int], bytes]
    """Return the bytes from a start offset to an end offset."""


class Sandbox:
    """A helper process that decodes for this one, started when it is first needed. One thread at a time uses it."""

    def __init__(self, memory_gigabytes: int = MEMORY_GIGABYTES) -> None:
        self._memory_gigabytes = memory_gigabytes
        self._helper: Child | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process id of the helper; None while there is none."""
        return None if self._helper is None else self._helper.pid

    def take(self, source: bytes | str | Ranged, request: ClipRequest, *, timeout_seconds: float) -> Frames:
        """Return what ``clip_reader.read_clip`` does. Raises DecodeError if the file is unusable or kills the helper."""
        with self._lock:
            is_fresh = self._helper is None
            try:
                return self._ask(source, request, timeout_seconds)
            except (WorkerDiedError, MemoryError) as error:
                reason = self._reason(error)
                self.close()
            if not is_fresh:
                # Once more in a new helper: the result for a clip must not depend on the clips before it.
                try:
                    return self._ask(source, request, timeout_seconds)
                except (WorkerDiedError, MemoryError) as error:
                    reason = self._reason(error)
                    self.close()
            raise DecodeError(reason)

    def close(self) -> None:
        """Kill the helper; the next clip starts another."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()

    def _reason(self, error: Exception) -> str:
        if isinstance(error, MemoryError):
            return f"decoding takes over {self._memory_gigabytes} GiB of memory"
        return f"the decoder crashed ({describe_exit(0 if self._helper is None else self._helper.wait())})"

    def _ask(self, source: bytes | str | Ranged, request: ClipRequest, timeout_seconds: float) -> Frames:
        helper = self._helper = self._helper or _start(self._memory_gigabytes)
        question = {"request": dataclasses.asdict(request), "seconds": timeout_seconds}
        if isinstance(source, str):
            question["path"] = source
        elif isinstance(source, Ranged):
            question |= {"name": source.name, "num_bytes": source.num_bytes}
        deadline = time.monotonic() + timeout_seconds
        try:
            helper.send(question, source if isinstance(source, bytes) else b"")
            answer = _receive(helper, deadline)
            while "range" in answer.header:
                began = time.monotonic()
                helper.send({}, self._read_range(source, *answer.header["range"]))
                # Time spent waiting for the store does not count as decoding time.
                deadline += time.monotonic() - began
                answer = _receive(helper, deadline)
        except NoAnswerError:
            self.close()
            raise DecodeError(f"timed out after {timeout_seconds:g} s") from None
        except (KeyboardInterrupt, SystemExit):
            # Else the answer to this clip would be read as the answer to the next.
            self.close()
            raise
        header = answer.header
        return Frames(answer.payload.reshape(header["shape"]), header["fps"], header["about"])

    def _read_range(self, source: object, start: int, end: int) -> bytes:
        assert isinstance(source, Ranged)  # noqa: S101  # the helper asks for ranges of nothing else
        try:
            return source.read(start, end)
        except BaseException:
            # The helper waits for an answer that will never come.
            self.close()
            raise


_sandboxes: dict[int, Sandbox] = {}
"""The sandbox of this process, by process id: a forked process must not share its parent's."""


def take(source: bytes | str | Ranged, request: ClipRequest, *, timeout_seconds: float = 60.0) -> Frames:
    """Return what ``clip_reader.read_clip`` does, decoded by this process's helper."""
    sandbox = _sandboxes.get(os.getpid())
    if sandbox is None:
        sandbox = _sandboxes[os.getpid()] = Sandbox()
        atexit.register(sandbox.close)
    return sandbox.take(source, request, timeout_seconds=timeout_seconds)


def _start(memory_gigabytes: int) -> Child:
    helper = Child(
        "t2vdata.media.sandbox_main",
        name="the decoder",
        advice="leave out the file",
        # The threads of BLAS would spin and take address space.
        environment={"OPENBLAS_NUM_THREADS": "1"},
        max_header_bytes=_MAX_HEADER_BYTES,
        quiet=True,
    )
    helper.send({"memory_gigabytes": memory_gigabytes})
    return helper


def _receive(helper: Child, deadline: float) -> Message:
    return helper.receive(deadline=deadline, allocate=_empty)


def _empty(num_bytes: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.empty(num_bytes, np.uint8)
