"""Everything t2vdata raises on purpose.

    T2VError
    |-- RequestError            what was asked cannot be done: change the request
    |   |-- UnknownNameError    no such dataset, split, key, option ...; says what comes close
    |   |-- OtherSpecError      the output folder holds something else
    |   `-- RawDataError        the raw files of a dataset are missing or not what was expected
    |-- DataError               what is on disk is not what it should be
    |   |-- NotADatasetError    no (readable) manifest there
    |   `-- ShardError          a shard, index or sample is damaged
    |-- StorageError            the disk or the object store refused: full, read-only, gone
    |   |-- ScratchError        the folder of temporary files refused
    |   `-- StoreAwayError      an object store gave no answer for minutes
    |-- BuildError              a build that cannot go on
    |   |-- TooManyFailuresError
    |   `-- WorkerDiedError
    `-- ClipError               one clip cannot be used: counted in the tally, the build goes on
        |-- CaptionError
        |-- DecodeError
        |-- RenderError
        `-- EncodeError

Messages say what happened, with the value; what was expected; and the next move.
"""

from __future__ import annotations

from collections.abc import Iterable


class T2VError(Exception):
    """Anything t2vdata raises on purpose; the command line prints it as one line."""


class RequestError(T2VError, ValueError):
    """The request cannot be met as it stands."""


class UnknownNameError(RequestError):
    """A name that is not known, with the nearest one that is."""


class OtherSpecError(RequestError):
    """The output folder belongs to another build, or to no build at all."""


class RawDataError(RequestError):
    """Raw files that a dataset needs are missing or malformed."""


class DataError(T2VError):
    """A built dataset is not what its manifest promises."""


class NotADatasetError(DataError):
    """There is no finished dataset at this path."""


class ShardError(DataError):
    """A shard, an index or a sample in it is damaged."""


class StorageError(T2VError, OSError):
    """Storage refused: no space, no permission, not a folder."""

    def __str__(self) -> str:
        # OSError prints its errno before the text; users want the sentence alone.
        return str(self.args[-1]) if self.args else ""


class ScratchError(StorageError):
    """The folder of temporary files refused: full, or not there."""


class StoreAwayError(StorageError):
    """An object store gave no answer, or only errors, for as long as a build waits. Nothing is wrong with what is asked for."""


class BuildError(T2VError):
    """A build that cannot go on."""


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


class RenderError(ClipError):
    """A synthetic clip that cannot be drawn."""


class EncodeError(ClipError):
    """Frames that cannot be encoded as asked."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, or the first that contains it, or None."""
    import difflib

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return close[0] if close else next((one for one in names if len(name) > 2 and name in one), None)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a ``kind`` called ``name`` that does not exist: the nearest name, or all of them."""
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return UnknownNameError(f"no {kind} {name!r}; did you mean {close!r}?")
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return UnknownNameError(f"no {kind} {name!r}; there is {shown}" if names else f"no {kind} {name!r}; there is none")
