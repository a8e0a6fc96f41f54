"""`Channel`: one end of a pair of pipes between two processes. A message is a JSON header and raw bytes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from t2vdata.processes.raised import describe_error
from t2vdata.processes.time_limit import TimeLimit

_LENGTHS = struct.Struct("<IQ")
"""Bytes of the JSON header and of the payload, which follow in this order."""
RAISED, ENDED = "raised", "ended"
"""Keys of the headers of a child that reports an exception, and of one that does not start or leaves early."""


class Message(NamedTuple):
    """A message from one process to another."""

    header: dict[str, Any]
    payload: Any
    """The raw bytes: ``bytes``, or the buffer that the receiver allocated."""


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

    def receive(self, *, limit: TimeLimit | None = None, allocate: Callable[[int], Any] | None = None) -> Message | None:
        """Wait for a message; None when the other process has ended, or sends a header over the limit.

        Raises NoAnswerError at the ``limit``. ``allocate(num_bytes)`` returns a writable buffer for the
        payload, which else is ``bytes``.
        """
        lengths = bytearray(_LENGTHS.size)
        if not self._read_into(lengths, limit):
            return None
        header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
        if self._max_header_bytes is not None and header_bytes > self._max_header_bytes:
            return None
        text = bytearray(header_bytes)
        if not self._read_into(text, limit):
            return None
        payload = self._receive_bytes(payload_bytes, limit) if allocate is None else allocate(payload_bytes)
        if payload is None or (allocate is not None and not self._read_into(payload, limit)):
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
                self.send({RAISED: describe_error(error)})

    def fileno(self) -> int:
        """Return the descriptor that is readable when a message has arrived, or the other process has ended."""
        return self._receiving.fileno()

    def end(self) -> None:
        """Send no more: the other process reads the end of its pipe."""
        self._sending.close()

    def wait_for_end(self) -> None:
        """Wait until the other process has ended."""
        poll = select.poll()
        # No event is asked for: what is left is the end of the pipe.
        poll.register(self._receiving.fileno(), 0)
        poll.poll()

    def close(self) -> None:
        self._receiving.close()
        self._sending.close()

    def _receive_bytes(self, num_bytes: int, limit: TimeLimit | None) -> bytes | None:
        if not num_bytes:
            return b""
        # A media file may be large; BytesIO hands over its memory without a copy.
        buffer = io.BytesIO()
        buffer.seek(num_bytes - 1)
        buffer.write(b"\0")
        with buffer.getbuffer() as view:
            is_complete = self._read_into(view, limit)
        return buffer.getvalue() if is_complete else None

    def _read_into(self, buffer: Any, limit: TimeLimit | None) -> bool:
        """Fill ``buffer``; return False when the other process ends before."""
        rest = memoryview(buffer)
        descriptor = self._receiving.fileno()
        while rest:
            if limit is not None:
                _wait_until_readable(descriptor, limit)
            num_bytes = os.readv(descriptor, [rest])
            if not num_bytes:
                return False
            rest = rest[num_bytes:]
        return True


def _write_all(file: IO[bytes], *buffers: Any) -> None:
    rest = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while rest:
        written = os.writev(file.fileno(), rest)
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if written:
            rest[0] = rest[0][written:]


def _wait_until_readable(descriptor: int, limit: TimeLimit) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    began = time.monotonic()
    # What has arrived counts, however long this process was stopped in the meantime.
    while not poll.poll(limit.LOOK_SECONDS * 1000):
        now = time.monotonic()
        limit.check(now - began)
        began = now
