"""`Child`: a Python process at the other end of a channel, and what is said about one that died."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from t2vdata.errors import WorkerDiedError
from t2vdata.processes import start
from t2vdata.processes.channel import ENDED, RAISED, Channel, Message
from t2vdata.processes.raised import rebuild_error
from t2vdata.processes.time_limit import TimeLimit

# Maximum time between the end of a child's pipe and the end of the child.
_EXIT_SECONDS = 10
# A process that decodes untrusted files must not fill the screen with its last words.
_MAX_REASON_CHARS = 500


def describe_exit(returncode: int) -> str:
    """Return what ended a process: ``SIGSEGV``, or ``status 3``."""
    if returncode >= 0:
        return f"status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


class Child:
    """A Python process that runs ``main(channel)`` of a module, at the other end of a channel.

    By default it is in a session of its own, so that Ctrl-C interrupts this process alone. When this process ends, however it
    ends, the child reads the end of its pipe.
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
        own_session: bool = True,
    ) -> None:
        """Start the process.

        ``name`` and ``advice`` are for the message when it dies: what died, and what to do about it. ``share_files`` are
        descriptors that the child gets under the same numbers. A child that sends a header of more than ``max_header_bytes``
        counts as dead. A ``quiet`` child prints nothing. Without ``own_session`` signals to the process group reach it.
        """
        self._name, self._advice = name, advice
        self._max_header_bytes = max_header_bytes
        try:
            self._start(module, environment or {}, share_files, subprocess.DEVNULL if quiet else None, own_session)
        except OSError as error:
            raise WorkerDiedError(
                f"{name} does not start: {error.strerror or error}; {_advice_for(str(error), advice)}"
            ) from error

    def _start(
        self, module: str, environment: Mapping[str, str], share_files: Sequence[int], output: int | None, own_session: bool
    ) -> None:
        start.reserve_standard_descriptors()
        with contextlib.ExitStack() as stack:
            child_receiving, sending = os.pipe()
            stack.callback(os.close, child_receiving)
            on_error = stack.enter_context(contextlib.ExitStack())
            on_error.callback(os.close, sending)
            receiving, child_sending = os.pipe()
            stack.callback(os.close, child_sending)
            on_error.callback(os.close, receiving)
            self._process = subprocess.Popen(
                start.command(module, child_receiving, child_sending),
                pass_fds=(child_receiving, child_sending, *share_files),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=own_session,
            )
            on_error.pop_all()
            self._channel = Channel(receiving, sending, max_header_bytes=self._max_header_bytes)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, header: Mapping[str, Any], payload: Any = b"") -> None:
        """Send a message. If the child is dead, the next ``receive`` says so."""
        with contextlib.suppress(BrokenPipeError):
            self._channel.send(header, payload)

    def receive(self, *, limit: TimeLimit | None = None, allocate: Callable[[int], Any] | None = None) -> Message:
        """Wait for an answer.

        Raises what the child raised, WorkerDiedError when it died, NoAnswerError at the ``limit``.
        """
        message = self._channel.receive(limit=limit, allocate=allocate)
        if message is None:
            raise WorkerDiedError(f"{self._name} (process {self.pid}) {self._how_it_ended()}; {self._advice}")
        if ENDED in message.header:
            reason = bytes(message.payload[:_MAX_REASON_CHARS]).decode("utf-8", "replace")
            raise WorkerDiedError(f"{self._name} (process {self.pid}) ended: {reason}; {_advice_for(reason, self._advice)}")
        if RAISED in message.header:
            raise rebuild_error(message.header[RAISED], pid=self.pid)
        return message

    def wait(self) -> int:
        """Wait for a process that has sent its last message to end; return its exit status, negative for a signal."""
        try:
            return self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def fileno(self) -> int:
        """Return the descriptor that is readable when an answer has arrived, or the child has ended."""
        return self._channel.fileno()

    def stop(self) -> None:
        """Let a child end that waits for the next message, and close the channel."""
        self._channel.end()
        self.wait()
        self._channel.close()

    def kill(self) -> None:
        """Kill the process. A thread that waits in ``receive`` sees it die."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process, if it lives, and close the channel."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _how_it_ended(self) -> str:
        try:
            returncode = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return "sends what is no message"
        if returncode == -signal.SIGKILL:
            return "was killed by SIGKILL (out of memory?)"
        return f"was killed by {describe_exit(returncode)}" if returncode < 0 else f"ended with {describe_exit(returncode)}"


def _advice_for(reason: str, advice: str) -> str:
    """Return what to do about a child that could not start: ``advice`` is for one that takes too much."""
    if os.strerror(errno.EMFILE) in reason:
        return "raise the limit of open files (ulimit -n)"
    if os.strerror(errno.EACCES) in reason:
        return "give yourself access to it"
    return advice
