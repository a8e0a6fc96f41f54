"""Decode untrusted media files in a separate process: a file that hangs, crashes or eats memory costs only its own clip.

Each process that builds keeps one helper process, started when it first decodes and again whenever the helper has died. Only
JSON and pixels cross the pipes. The helper (sandbox_main.py) has a memory limit, writes no file and opens no connection.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from t2vdata.errors import DecodeError, WorkerDiedError
from t2vdata.media.clip_request import ClipRequest
from t2vdata.processes import Child, NoAnswerError, TimeLimit, describe_exit
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Limit of address space; Python, NumPy and FFmpeg take about 1 GiB of it before they decode anything.
MEMORY_GIGABYTES = 4
# A compromised helper must not make this process allocate without bound; real headers take less than a kilobyte.
_MAX_HEADER_BYTES = 1 << 20
# How often fresh helpers may die on a file before the file is given up: of a fault of their own, and of a signal that only
# others send, such as the kernel when memory is short. The second says little about the file, so it takes many.
_MAX_CRASHES, _MAX_KILLS = 3, 15
_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
# A helper that is killed while it starts has seen no file.
_MAX_STARTS = 20
_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.05, 0.3


@dataclasses.dataclass(frozen=True)
class Ranged:
    """A remote file: the helper, which has no network, asks this process for each range that it reads."""

    name: str
    """Distinguishes it from other files."""
    num_bytes: int
    read: Callable[[int, int], bytes]
    """Return the bytes from a start offset to an end offset."""


class Sandbox:
    """A helper process that decodes for this one, started when it is first needed. One thread at a time uses it.

    What happens to a clip depends on its file, not on what happens to the helper: a helper that dies is replaced, and the file
    decoded again. Only a file on which fresh helpers die repeatedly is given up.
    """

    def __init__(self, memory_gigabytes: int = MEMORY_GIGABYTES) -> None:
        self._memory_gigabytes = memory_gigabytes
        self._helper: Child | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process id of the helper; None while there is none."""
        return None if self._helper is None else self._helper.pid

    def take(self, source: bytes | str | Ranged, request: ClipRequest, *, timeout_seconds: float) -> Frames:
        """Return what ``clip_reader.read_clip`` does.

        Raises DecodeError if the file is unusable, takes too long, or repeatedly kills the helper; WorkerDiedError if no helper
        starts, which says nothing about the file.
        """
        with self._lock:
            deaths = Counter[str]()
            while True:
                # The first attempt may fail for what earlier clips left in the helper.
                is_fresh = self._helper is None
                try:
                    return self._ask(source, request, timeout_seconds)
                except _HelperDiedError as death:
                    self.close()
                    if is_fresh:
                        deaths[death.how] += 1
                        if deaths[death.how] == death.max_times:
                            raise DecodeError(death.verdict) from None
                        # The kernel may have killed it for lack of memory, which may soon be better.
                        time.sleep(min(_MAX_PAUSE_SECONDS, _PAUSE_SECONDS * deaths.total()))

    def close(self) -> None:
        """Kill the helper; the next clip starts another."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()

    def _ask(self, source: bytes | str | Ranged, request: ClipRequest, timeout_seconds: float) -> Frames:
        helper = self._helper = self._helper or _start(self._memory_gigabytes)
        question = {"request": dataclasses.asdict(request), "seconds": timeout_seconds}
        if isinstance(source, str):
            question["path"] = source
        elif isinstance(source, Ranged):
            question |= {"name": source.name, "num_bytes": source.num_bytes}
        limit = TimeLimit(helper.pid, timeout_seconds)
        try:
            helper.send(question, source if isinstance(source, bytes) else b"")
            answer = helper.receive(limit=limit, allocate=_empty)
            while "range" in answer.header:
                # Nothing is counted while this process waits for the store.
                helper.send({}, self._read_range(source, *answer.header["range"]))
                answer = helper.receive(limit=limit, allocate=_empty)
        except NoAnswerError:
            self.close()
            raise DecodeError(f"timed out after {timeout_seconds:g} s") from None
        except MemoryError:
            raise _HelperDiedError(f"decoding takes over {self._memory_gigabytes} GiB of memory", max_times=1) from None
        except WorkerDiedError:
            raise _HelperDiedError.of(helper.wait()) from None
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


class _HelperDiedError(Exception):
    """The helper died while it decoded a file."""

    def __init__(self, how: str, *, max_times: int) -> None:
        super().__init__(how)
        self.how, self.max_times = how, max_times

    @classmethod
    def of(cls, returncode: int) -> _HelperDiedError:
        if -returncode in _FAULTS or returncode >= 0:
            return cls(f"the decoder crashed ({describe_exit(returncode)})", max_times=_MAX_CRASHES)
        return cls(f"the decoder was killed ({describe_exit(returncode)})", max_times=_MAX_KILLS)

    @property
    def verdict(self) -> str:
        """The reason for giving up the file."""
        return self.how if self.max_times == 1 else f"{self.how} {self.max_times} times"


def _start(memory_gigabytes: int) -> Child:
    """Start a helper, and wait until it can decode. Raises WorkerDiedError if none starts."""
    for attempt in range(_MAX_STARTS):
        helper = Child(
            "t2vdata.media.sandbox_main",
            name="the decoder",
            advice=f"it needs {memory_gigabytes} GiB of address space: check the limits of this process (ulimit -a)",
            # The threads of BLAS would spin and take address space.
            environment={"OPENBLAS_NUM_THREADS": "1"},
            max_header_bytes=_MAX_HEADER_BYTES,
            quiet=True,
        )
        try:
            helper.send({"memory_gigabytes": memory_gigabytes})
            helper.receive()
        except WorkerDiedError:
            returncode = helper.wait()
            helper.close()
            # A signal came from outside: it has seen no file yet.
            if returncode >= 0:
                raise
            if attempt == _MAX_STARTS - 1:
                raise WorkerDiedError(
                    f"{_MAX_STARTS} decoders in a row were ended by {describe_exit(returncode)} as they started (out of "
                    f"memory? they need {memory_gigabytes} GiB of address space); run the same command again"
                ) from None
            time.sleep(min(1.0, _PAUSE_SECONDS * attempt))
        except BaseException:
            helper.close()
            raise
        else:
            return helper
    raise AssertionError


def _empty(num_bytes: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.empty(num_bytes, np.uint8)
