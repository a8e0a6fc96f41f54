"""Temporary files without a name: nothing is left of them, however the process ends."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

from t2vdata.errors import ScratchError, StorageError


@contextlib.contextmanager
def scratch(url: str, why: str) -> Iterator[IO[bytes]]:
    """Yield a nameless temporary file for the content of ``url``. Raises ScratchError when it cannot be created or written.

    ``why`` completes the error message: "cannot keep URL in /tmp WHY".
    """
    try:
        file = tempfile.TemporaryFile(buffering=1 << 20)  # noqa: SIM115
    except OSError as error:
        raise _scratch_error(url, why, error) from error
    with scratch_errors(url, why), file:
        yield file


@contextlib.contextmanager
def scratch_errors(url: str, why: str) -> Iterator[None]:
    """Raise an OSError of the folder of temporary files as ScratchError."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        # From reading the source, not from the temporary file.
        raise
    except OSError as error:
        raise _scratch_error(url, why, error) from error


def _scratch_error(url: str, why: str, error: OSError) -> ScratchError:
    return ScratchError(
        f"cannot keep {url} in {tempfile.gettempdir()} {why}: {error.strerror or error}; make room there, or set TMPDIR to "
        "another folder"
    )
