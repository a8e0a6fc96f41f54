"""The helper process of sandbox.py: decodes media files under limits of memory, time and file access.

It ends with its parent, even while it hangs. FFmpeg is given its demuxer by name, and may use no protocol
but ``file``.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from t2vdata.errors import DecodeError
from t2vdata.media.clip_request import ClipRequest
from t2vdata.processes import Channel, Message
from t2vdata.processes.child_main import leave_with_parent

if TYPE_CHECKING:
    from t2vdata.media.media_file import Source

# Of a remote file, each block is a request to the store.
BLOCK_BYTES = 4 << 20


def main(channel: Channel) -> None:
    """Decode one clip for each message, until the parent ends."""
    from t2vdata.media.clip_reader import ClipReader

    setup = channel.receive()
    if setup is None:
        return
    _import_decoders()
    reader = ClipReader()
    # Before the limit of address space, which a thread takes from.
    leave_with_parent(channel)
    _limit(setup.header["memory_gigabytes"])
    channel.send({})
    for question in channel:
        with channel.reporting_errors():
            try:
                frames = reader.read(_source(question, channel), ClipRequest(**question.header["request"]))
                header = {"shape": frames.data.shape, "fps": frames.fps, "about": frames.about}
                channel.send(header, frames.data.reshape(-1).data)
            except MemoryError as error:
                # NumPy raises its own class of exception, which the parent does not know.
                raise MemoryError(str(error)) from None


def _source(question: Message, channel: Channel) -> Source:
    """Return the path, the bytes or the remote file that a message asks to decode."""
    header = question.header
    if "path" in header:
        return str(header["path"])
    if "name" in header:
        return _RemoteFile(header["name"], header["num_bytes"], functools.partial(_read_range, channel))
    return cast("bytes", question.payload)


def _read_range(channel: Channel, start: int, end: int) -> bytes:
    """Ask the parent for a range of its file."""
    channel.send({"range": [start, end]})
    answer = channel.receive()
    if answer is None:
        raise SystemExit
    return cast("bytes", answer.payload)


def _limit(memory_gigabytes: int) -> None:
    """Limit this process's address space; forbid core dumps and writing files."""
    import resource

    # macOS knows the first limit and refuses it.
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_gigabytes << 30, memory_gigabytes << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _import_decoders() -> None:
    """Import what decoding needs, before the limits are set."""
    import numpy as np
    from av.video.reformatter import VideoReformatter
    from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    from t2vdata.media.decode import probe

    with contextlib.suppress(DecodeError):
        probe.probe(b"\0\0\x01\xba" + bytes(100))
    np.rot90(np.zeros((2, 2, 3), np.uint8))
    VideoReformatter()


class _RemoteFile(io.BufferedIOBase):
    """A file that is read block by block through ``read_range(start, end)``; two with the same name are equal."""

    def __init__(self, name: str, num_bytes: int, read_range: Callable[[int, int], bytes]) -> None:
        self._name, self._num_bytes, self._position = name, num_bytes, 0
        # Containers are read at the head, at the index near the end, and where the span is, alternately.
        self._block = functools.lru_cache(maxsize=4)(
            lambda number: read_range(number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, num_bytes))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _RemoteFile) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._num_bytes if size is None or size < 0 else min(self._num_bytes, self._position + size)
        parts: list[bytes] = []
        while self._position < end:
            number, skip = divmod(self._position, BLOCK_BYTES)
            part = self._block(number)[skip : skip + end - self._position]
            if not part:
                break
            parts.append(part)
            self._position += len(part)
        return b"".join(parts)
