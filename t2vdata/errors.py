"""The exceptions that t2vdata raises on purpose.

    T2VError
    |-- RequestError            the request cannot be met: change it
    |   |-- UnknownNameError    no such dataset, split, key, option ...; the message suggests the nearest one
    |   |-- MissingPackageError a package that an extra installs is missing
    |   |-- OtherSpecError      the output folder holds something else
    |   |-- StoppedError        reading was stopped: its reader was closed meanwhile
    |   `-- RawDataError        the raw files of a dataset are missing or not as expected
    |-- DataError               data on disk is damaged or missing
    |   |-- NotADatasetError    no readable manifest there
    |   |-- ShardError          a shard, index or sample is damaged
    |   `-- DamagedError        an archive of raw files is cut short or damaged
    |-- StorageError            the disk or the object store refused: full, read-only, gone
    |   |-- ScratchError        the folder of temporary files refused
    |   |-- TransientError      the connection broke, or the server is busy: retrying may succeed
    |   `-- StoreAwayError      an object store gave no answer for minutes
    |-- BuildError              a build that cannot continue
    |   |-- TooManyFailuresError
    |   `-- WorkerDiedError
    `-- ClipError               one clip cannot be used: it is counted in the tally, and the build continues
        |-- CaptionError
        |-- DecodeError
        |   `-- NvdecError      the GPU cannot decode this video
        |-- RenderError
        `-- EncodeError

Messages say what happened, with the value; what was expected; and the next move.
"""

from __future__ import annotations

from collections.abc import Iterable


class T2VError(Exception):
    """Anything t2vdata raises on purpose; the command line prints it as one line."""


class RequestError(T2VError, ValueError):
    """The request cannot be met; change it."""


class UnknownNameError(RequestError):
    """A name that does not exist; the message suggests the nearest one."""


class MissingPackageError(RequestError, ModuleNotFoundError):
    """A package is missing that an extra of t2vdata installs; the message has the pip command."""

    def __init__(self, message: str, *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class OtherSpecError(RequestError):
    """The output folder belongs to another build, or to no build at all."""


class StoppedError(RequestError):
    """Reading was stopped because its reader was closed meanwhile."""


class RawDataError(RequestError):
    """Raw files that a dataset needs are missing or malformed."""


class DataError(T2VError):
    """A built dataset does not match its manifest."""


class NotADatasetError(DataError):
    """There is no finished dataset at this path."""


class ShardError(DataError):
    """A shard, an index or a sample in it is damaged."""


class DamagedError(DataError):
    """An archive of raw files is cut short or damaged; the files before that position can be read."""


class StorageError(T2VError, OSError):
    """Storage refused: no space, no permission, not a folder."""

    def __str__(self) -> str:
        # OSError prints its errno before the text; users want the sentence alone.
        return str(self.args[-1]) if self.args else ""


class ScratchError(StorageError):
    """The folder of temporary files refused: full, or missing."""


class TransientError(StorageError):
    """The connection broke, or the server is busy or down: retrying may succeed."""


class StoreAwayError(StorageError):
    """An object store gave no answer, or only errors, for as long as a build waits. The request itself is fine."""


class BuildError(T2VError):
    """A build that cannot continue."""


class TooManyFailuresError(BuildError):
    """More clips failed than the failure budget allows."""


class WorkerDiedError(BuildError):
    """A worker process ended without an answer: killed, crashed, out of memory."""


class ClipError(T2VError):
    """One clip cannot be used. It is counted and listed in rejects.parquet."""


class CaptionError(ClipError):
    """The clip's caption cannot be used."""


class DecodeError(ClipError):
    """Bytes that cannot be decoded into frames."""


class NvdecError(DecodeError):
    """The GPU cannot decode this video, and decoding on the CPU was not requested."""


class RenderError(ClipError):
    """A synthetic clip that cannot be drawn."""


class EncodeError(ClipError):
    """Frames that cannot be encoded as requested."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to ``name``, else the first that contains it, else None."""
    import difflib

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return close[0] if close else next((known_name for known_name in names if len(name) > 2 and name in known_name), None)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a ``kind`` called ``name`` that does not exist: the nearest name, or all of them."""
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return UnknownNameError(f"no {kind} {name!r}; did you mean {close!r}?")
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return UnknownNameError(f"no {kind} {name!r}; expected one of {shown}" if names else f"no {kind} {name!r}; there is none")
