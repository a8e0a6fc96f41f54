"""Untrusted media files, decoded in a process apart: one that hangs, crashes or eats memory costs its own clip.

Each process that builds keeps one helper, which it starts when it first decodes and again when the helper has died. Across
the pipes go JSON and pixels, nothing that could run. The helper has a limit of memory and writes no file; an alarm of its own
ends it when it hangs and nobody is left to say so. FFmpeg is told its demuxer by name and may use no protocol but ``file``.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from t2vdata.engines.local import child_environment
from t2vdata.errors import DecodeError
from t2vdata.media.clip_request import ClipRequest
from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np

# Of address space, of which Python, NumPy and FFmpeg take about one before they begin.
MEMORY_GIGABYTES = 4
_LENGTH = struct.Struct("<Q")
# Of a file of which ranges are asked for: a request each.
BLOCK_BYTES = 4 << 20
# Of the JSON at the head of an answer.
_MAX_HEAD_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Ranged:
    """A file of which the helper asks for what it reads; it has no file and no network itself."""

    name: str
    """What tells it from other files."""
    num_bytes: int
    read: Callable[[int, int], bytes]
    """The bytes from one place to another."""


class _DiedError(Exception):
    """The helper ended before it answered."""


class Sandbox:
    """A helper process that decodes for this one, started when it is needed. For one thread at a time."""

    def __init__(self, memory_gigabytes: int = MEMORY_GIGABYTES) -> None:
        self._memory_gigabytes = memory_gigabytes
        self._helper: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def take(self, source: bytes | str | Ranged, wish: ClipRequest, *, timeout_seconds: float) -> Frames:
        """Return what ``clip_reader.read_clip`` does. Raises DecodeError for an unusable file, or one that ends the helper."""
        with self._lock:
            is_fresh = self._helper is None
            try:
                return self._ask(source, wish, timeout_seconds)
            except (_DiedError, MemoryError) as error:
                why = self._why(error)
                self.close()
            if not is_fresh:
                # Once more in a new one: what a clip is must not depend on the clips before it.
                try:
                    return self._ask(source, wish, timeout_seconds)
                except (_DiedError, MemoryError) as error:
                    why = self._why(error)
                    self.close()
            raise DecodeError(why)

    def close(self) -> None:
        """End the helper; the next clip starts another."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.kill()
            helper.communicate()

    def _why(self, error: BaseException) -> str:
        if isinstance(error, MemoryError):
            return f"decoding takes over {self._memory_gigabytes} GiB of memory"
        code = 0 if self._helper is None else self._helper.wait()
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"the decoder crashed ({how})"

    def _ask(self, source: bytes | str | Ranged, wish: ClipRequest, timeout_seconds: float) -> Frames:
        import numpy as np

        helper = self._helper = self._helper or _start(self._memory_gigabytes)
        payload = source if isinstance(source, bytes) else b""
        question = {"wish": dataclasses.asdict(wish), "seconds": timeout_seconds, "size": len(payload)}
        if isinstance(source, str):
            question["path"] = source
        elif isinstance(source, Ranged):
            question |= {"ranged": source.name, "of": source.num_bytes}
        deadline = time.monotonic() + timeout_seconds
        try:
            _send(_pipe(helper.stdin), question, payload)
            head = _head(helper, deadline)
            while "range" in head:
                begun = time.monotonic()
                data = self._range(source, *head["range"])
                _send(_pipe(helper.stdin), {"size": len(data)}, data)
                # The store's time is not the decoder's.
                deadline += time.monotonic() - begun
                head = _head(helper, deadline)
            if "error" in head:
                raise DecodeError(head["error"])
            if "memory" in head:
                raise MemoryError
            if "bug" in head:
                raise RuntimeError(f"in the decoding helper:\n{head['bug']}")
            pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.empty(head["shape"], np.uint8)
            _receive(helper, pixels.reshape(-1).data, deadline)
        except TimeoutError:
            self.close()
            raise DecodeError(f"timed out after {timeout_seconds:g} s") from None
        except BrokenPipeError as error:
            raise _DiedError from error
        return Frames(pixels, head["fps"], head["about"])

    def _range(self, source: object, start: int, end: int) -> bytes:
        assert isinstance(source, Ranged)  # noqa: S101  # nothing else is asked for
        try:
            return source.read(start, end)
        except BaseException:
            # It waits for an answer that does not come.
            self.close()
            raise


_own: dict[int, Sandbox] = {}


def take(source: bytes | str | Ranged, wish: ClipRequest, *, timeout_seconds: float = 60.0) -> Frames:
    """Return what ``clip_reader.read_clip`` does, from this process's helper."""
    # By the process, for one that was forked has no helper yet.
    sandbox = _own.get(os.getpid())
    if sandbox is None:
        sandbox = _own[os.getpid()] = Sandbox()
        atexit.register(sandbox.close)
    return sandbox.take(source, wish, timeout_seconds=timeout_seconds)


def _start(memory_gigabytes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(memory_gigabytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Its own BLAS threads would spin, and take address space.
        env=child_environment(OPENBLAS_NUM_THREADS="1"),
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101  # Popen was asked for it
    return pipe


def _send(pipe: IO[bytes], head: dict[str, Any], payload: bytes | memoryview) -> None:
    text = json.dumps(head).encode()
    pipe.write(_LENGTH.pack(len(text)) + text)
    pipe.write(payload)
    pipe.flush()


def _head(helper: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    length = bytearray(_LENGTH.size)
    _receive(helper, memoryview(length), deadline)
    (size,) = _LENGTH.unpack(length)
    if size > _MAX_HEAD_BYTES:
        raise _DiedError
    text = bytearray(size)
    _receive(helper, memoryview(text), deadline)
    head: dict[str, Any] = json.loads(text)
    return head


def _receive(helper: subprocess.Popen[bytes], into: memoryview, deadline: float) -> None:
    """Fill ``into`` from the helper. Raises TimeoutError after the deadline, _DiedError when the helper ends."""
    # Not through the file object, whose buffer poll does not see.
    descriptor = _pipe(helper.stdout).fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    filled = 0
    while filled < len(into):
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(math.ceil(left * 1000)):
            raise TimeoutError
        got = os.readv(descriptor, [into[filled:]])
        if not got:
            raise _DiedError
        filled += got


def _serve(memory_gigabytes: int) -> None:
    """Answer until nobody asks any more."""
    import resource
    import traceback

    from t2vdata.media.clip_reader import ClipReader
    from t2vdata.media.decode import probe

    _warm_up()
    reader = ClipReader()
    questions = sys.stdin.buffer
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Ctrl-C reaches the whole process group; whoever asks decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # macOS knows the first limit and refuses it.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_gigabytes << 30, memory_gigabytes << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    while length := questions.read(_LENGTH.size):
        question = json.loads(questions.read(*_LENGTH.unpack(length)))
        # For when whoever asked is gone; it would have stopped waiting before.
        signal.setitimer(signal.ITIMER_REAL, question["seconds"] + 5)
        source: probe.Source = question.get("path") or questions.read(question["size"])
        if "ranged" in question:
            asked = functools.partial(_asked_for, questions, answers, question["seconds"] + 5)
            source = _Asked(question["ranged"], question["of"], asked)
        try:
            frames = reader.read(source, ClipRequest(**question["wish"]))
            head = {"shape": frames.data.shape, "fps": frames.fps, "about": frames.about}
            _send(answers, head, frames.data.reshape(-1).data)
        except DecodeError as error:
            _send(answers, {"error": str(error)}, b"")
        except MemoryError:
            _send(answers, {"memory": True}, b"")
        except Exception:
            _send(answers, {"bug": traceback.format_exc()}, b"")
        signal.setitimer(signal.ITIMER_REAL, 0)


def _asked_for(questions: IO[bytes], answers: IO[bytes], seconds: float, start: int, end: int) -> bytes:
    """Return a range of a file that whoever asked has, and give decoding its time anew: waiting is no part of it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    _send(answers, {"range": [start, end]}, b"")
    told = json.loads(questions.read(*_LENGTH.unpack(questions.read(_LENGTH.size))))
    data = questions.read(told["size"])
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return data


class _Asked(io.BufferedIOBase):
    """A file that is asked for block by block; two of one name are equal."""

    def __init__(self, name: str, num_bytes: int, ask: Callable[[int, int], bytes]) -> None:
        self._name, self._num_bytes, self._at = name, num_bytes, 0
        # The head, the index at the end, and where the span is: each read again and again by turns.
        self._block = functools.lru_cache(maxsize=4)(
            lambda number: ask(number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, num_bytes))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence])
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._num_bytes if size is None or size < 0 else min(self._num_bytes, self._at + size)
        parts: list[bytes] = []
        while self._at < end:
            number, skip = divmod(self._at, BLOCK_BYTES)
            part = self._block(number)[skip : skip + end - self._at]
            if not part:
                break
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)


def _warm_up() -> None:
    """Import what decoding needs, before the limits are set."""
    import numpy as np
    from av.video.reformatter import VideoReformatter
    from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    with contextlib.suppress(DecodeError):
        from t2vdata.media.decode import probe

        probe.probe(b"\0\0\x01\xba" + bytes(100))
    np.rot90(np.zeros((2, 2, 3), np.uint8))
    VideoReformatter()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
