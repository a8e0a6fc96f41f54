"""``MediaFile``: a local file whose read errors are remembered, since decoders take them for its end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from t2vdata.errors import DecodeError
from t2vdata.media.library_errors import file_errors

Source = bytes | str | io.BufferedIOBase
"""The bytes of a file, its absolute path, or an open file at any offset; an open file stays open."""


class MediaFile(io.BufferedReader):
    """A local file that ends where the disk cannot read it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.error: OSError | None = None
        """The first read error."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size)
        except OSError as error:
            self.error = self.error or error
            return b""


@contextmanager
def opened(source: Source) -> Iterator[io.BufferedIOBase]:
    """Open a source at its start. Raises DecodeError at the end if a part of a local file could not be read.

    Frames from before that part may be used until then; a file that is left early, by closing the iterator, has given all that
    was needed.
    """
    if not isinstance(source, str):
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        file.seek(0)
        yield file
        return
    with file_errors():
        local = MediaFile(io.FileIO(source))
    with local:
        try:
            yield local
        except DecodeError as error:
            _check(local, error)
            raise
        _check(local, None)


def _check(file: MediaFile, cause: DecodeError | None) -> None:
    with file_errors():
        if file.error is not None:
            raise file.error from cause
