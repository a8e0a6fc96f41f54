"""Child processes: how many cores to use, what a child inherits, and the protocol between parent and child.

A message is a JSON header and raw bytes. Only plain data is sent: nothing is pickled, and code is named, as the module whose
``main(channel)`` the child runs. An exception in a child is raised in the parent as itself, with the child's traceback as a
note; a child that really died is reported with the signal or exit status that ended it.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from t2vdata.errors import T2VError, WorkerDiedError

_LENGTHS = struct.Struct("<IQ")
"""Bytes of the JSON header and of the payload, which follow in this order."""
_RAISED = "raised"
# With -c and not -m, which would load this module twice in the child, once as __main__.
_RUN_CHILD = "from t2vdata.processes import run_child; run_child()"
# Maximum time between the end of a child's pipe and the end of the child.
_EXIT_SECONDS = 10


def usable_cores() -> int:
    """Return how many cores this process may run on, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment for a Python process that imports modules from where this process does, plus ``variables``."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


def describe_exit(returncode: int) -> str:
    """Return what ended a process: ``SIGSEGV``, or ``status 3``."""
    return signal.Signals(-returncode).name if returncode < 0 else f"status {returncode}"


class Message(NamedTuple):
    """A message from one process to another."""

    header: dict[str, Any]
    payload: Any
    """The raw bytes: ``bytes``, or the buffer that the receiver allocated."""


class NoAnswerError(Exception):
    """The other process did not answer by the deadline."""


class Channel:
    """One end of a pair of pipes. One thread at a time may send, and one may receive."""

    def __init__(self, receiving: int, sending: int, *, max_header_bytes: int | None = None) -> None:
        """Take over the file descriptors of the pipe to read from and of the pipe to write to."""
        self._receiving = os.fdopen(receiving, "rb", buffering=0)
        self._sending = os.fdopen(sending, "wb", buffering=0)
        self._max_header_bytes = max_header_bytes

    def send(self, header: Mapping[str, Any], payload: Any = b"") -> None:
        """Send a message. Raises BrokenPipeError when the other process has ended."""
        text = json.dumps(header).encode()
        payload = memoryview(payload).cast("B")
        _write_all(self._sending, _LENGTHS.pack(len(text), len(payload)) + text, payload)

    def receive(self, *, deadline: float | None = None, allocate: Callable[[int], Any] | None = None) -> Message | None:
        """Wait for a message; None when the other process has ended, or sends a header over the limit.

        Raises NoAnswerError at ``deadline`` (time.monotonic()). ``allocate(num_bytes)`` returns a writable buffer for the
        payload, which else is ``bytes``.
        """
        lengths = bytearray(_LENGTHS.size)
        if not self._read_into(lengths, deadline):
            return None
        header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
        if self._max_header_bytes is not None and header_bytes > self._max_header_bytes:
            return None
        text = bytearray(header_bytes)
        if not self._read_into(text, deadline):
            return None
        payload = self._receive_bytes(payload_bytes, deadline) if allocate is None else allocate(payload_bytes)
        if payload is None or (allocate is not None and not self._read_into(payload, deadline)):
            return None
        return Message(json.loads(text), payload)

    def __iter__(self) -> Iterator[Message]:
        """Yield messages until the other process has ended."""
        while (message := self.receive()) is not None:
            yield message

    @contextlib.contextmanager
    def reporting_errors(self) -> Iterator[None]:
        """Send an exception of the ``with`` block to the parent, which raises it, and go on."""
        try:
            yield
        except Exception as error:
            # If the parent has ended, nobody needs the error.
            with contextlib.suppress(BrokenPipeError):
                self.send({_RAISED: describe_error(error)})

    def close(self) -> None:
        self._receiving.close()
        self._sending.close()

    def _receive_bytes(self, num_bytes: int, deadline: float | None) -> bytes | None:
        if not num_bytes:
            return b""
        # A media file may be large; BytesIO hands over its memory without a copy.
        buffer = io.BytesIO()
        buffer.seek(num_bytes - 1)
        buffer.write(b"\0")
        with buffer.getbuffer() as view:
            is_complete = self._read_into(view, deadline)
        return buffer.getvalue() if is_complete else None

    def _read_into(self, buffer: Any, deadline: float | None) -> bool:
        """Fill ``buffer``; return False when the other process ends before."""
        rest = memoryview(buffer)
        descriptor = self._receiving.fileno()
        while rest:
            if deadline is not None:
                _wait_until_readable(descriptor, deadline)
            num_bytes = os.readv(descriptor, [rest])
            if not num_bytes:
                return False
            rest = rest[num_bytes:]
        return True


class Child:
    """A Python process that runs ``main(channel)`` of a module, at the other end of a channel.

    It is in a session of its own, so that Ctrl-C interrupts this process alone. When this process ends, however it ends, the
    child reads the end of its pipe.
    """

    def __init__(
        self,
        module: str,
        *,
        name: str,
        advice: str,
        environment: Mapping[str, str] | None = None,
        share_files: Sequence[int] = (),
        max_header_bytes: int | None = None,
        quiet: bool = False,
    ) -> None:
        """Start the process.

        ``name`` and ``advice`` are for the message when it dies: what died, and what to do about it. ``share_files`` are
        descriptors that the child gets under the same numbers. A child that sends a header of more than ``max_header_bytes``
        counts as dead. A ``quiet`` child prints nothing.
        """
        self._name, self._advice = name, advice
        child_receiving, sending = os.pipe()
        receiving, child_sending = os.pipe()
        self._channel = Channel(receiving, sending, max_header_bytes=max_header_bytes)
        output = subprocess.DEVNULL if quiet else None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _RUN_CHILD, module, str(child_receiving), str(child_sending)],
                pass_fds=(child_receiving, child_sending, *share_files),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(**(environment or {})),
                start_new_session=True,
            )
        except BaseException:
            self._channel.close()
            raise
        finally:
            os.close(child_receiving)
            os.close(child_sending)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, header: Mapping[str, Any], payload: Any = b"") -> None:
        """Send a message. If the child is dead, the next ``receive`` says so."""
        with contextlib.suppress(BrokenPipeError):
            self._channel.send(header, payload)

    def receive(self, *, deadline: float | None = None, allocate: Callable[[int], Any] | None = None) -> Message:
        """Wait for an answer.

        Raises what the child raised, WorkerDiedError when it died, NoAnswerError at ``deadline`` (time.monotonic()).
        """
        message = self._channel.receive(deadline=deadline, allocate=allocate)
        if message is None:
            raise WorkerDiedError(f"{self._name} (process {self.pid}) {self._how_it_ended()}; {self._advice}")
        if _RAISED in message.header:
            raise rebuild_error(message.header[_RAISED], pid=self.pid)
        return message

    def wait(self) -> int:
        """Wait for a process that has sent its last message to end; return its exit status, negative for a signal."""
        try:
            return self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Kill the process. A thread that waits in ``receive`` sees it die."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process, if it lives, and close the channel."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _how_it_ended(self) -> str:
        returncode = self.wait()
        if returncode == -signal.SIGKILL:
            return "was killed by SIGKILL (out of memory?)"
        return f"was killed by {describe_exit(returncode)}" if returncode < 0 else f"ended with {describe_exit(returncode)}"


def run_child() -> None:
    """Run the module that ``Child`` named: the ``main`` of a child process."""
    import importlib

    module, receiving, sending = sys.argv[1:]
    channel = Channel(int(receiving), int(sending))
    with channel.reporting_errors():
        importlib.import_module(module).main(channel)


def describe_error(error: Exception) -> dict[str, Any]:
    """Return an exception as plain data, for ``rebuild_error``."""
    args: Sequence[Any] = ()
    try:
        text, trace = str(error), "".join(traceback.format_exception(error))
        # Not error.args: an OSError has its path elsewhere.
        args = error.__reduce__()[1]
    except Exception as failure:
        # A faulty __str__, or no memory left.
        text = trace = f"(cannot be printed: {type(failure).__name__})"
    return {
        "module": type(error).__module__,
        "class": type(error).__qualname__,
        "args": [_plain(arg) for arg in args],
        "text": text,
        "notes": [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)],
        "traceback": trace,
    }


def rebuild_error(description: Mapping[str, Any], *, pid: int) -> Exception:
    """Return the exception that a child raised, with the child's traceback as its last note.

    Its class is looked up by name among Python's own and the loaded subclasses of T2VError; arguments that are not plain data
    have become their text. Any other exception, and one whose class refuses the arguments, is a RuntimeError with its text.
    """
    error: Exception | None = None
    error_class = _error_class(description["module"], description["class"])
    if error_class is not None:
        # A constructor may raise anything.
        with contextlib.suppress(Exception):
            error = error_class(*description["args"])
    if error is None or type(error) is not error_class:
        name = f"{description['module']}.{description['class']}".removeprefix("builtins.")
        error = RuntimeError(f"{name}: {description['text']}")
    for note in description["notes"]:
        error.add_note(note)
    error.add_note(f"in child process {pid}:\n{description['traceback']}")
    return error


def _error_class(module: str, qualname: str) -> type[Exception] | None:
    """Return an exception class that may be rebuilt; None for all others.

    Only known classes are compared: a child that decodes untrusted files must not choose what is looked up or imported here.
    """
    known: list[type[Exception]] = [T2VError, *_subclasses(T2VError)]
    known += [value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, Exception)]
    names = (module, qualname)
    return next((candidate for candidate in known if (candidate.__module__, candidate.__qualname__) == names), None)


def _subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    for derived in base.__subclasses__():
        yield derived
        yield from _subclasses(derived)


def _plain(value: object) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _write_all(file: IO[bytes], *buffers: Any) -> None:
    rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while rest:
        written = os.writev(file.fileno(), rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def _wait_until_readable(descriptor: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    seconds = deadline - time.monotonic()
    if seconds <= 0 or not poll.poll(math.ceil(seconds * 1000)):
        raise NoAnswerError
