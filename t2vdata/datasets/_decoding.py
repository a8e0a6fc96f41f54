"""Decode the media file of a clip: find the file, and decode it in a separate process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from t2vdata import storage
from t2vdata.errors import DamagedError, DecodeError, ScratchError, StorageError, StoreAwayError
from t2vdata.media import sandbox
from t2vdata.media.clip_request import ClipRequest
from t2vdata.storage import prefetch
from t2vdata.storage.media_download import RangedFile
from t2vdata.types import Clip, Frames


def decode(
    clip: Clip, request: ClipRequest, *, max_megabytes: int, timeout_seconds: float, data: bytes | None = None
) -> Frames:
    """Return the frames of a clip's media file, whose bytes are ``data`` if given, decoded in a separate process.

    Raises DecodeError with the reason, after the clip's ``source``.
    """
    try:
        return sandbox.take(_input(clip, max_megabytes) if data is None else data, request, timeout_seconds=timeout_seconds)
    except DecodeError as error:
        raise DecodeError(f"{clip.source}: {error}" if clip.source else str(error)) from error


def media_bytes(clip: Clip, max_megabytes: int) -> bytes:
    """Return the content of a clip's media file. Raises DecodeError if it cannot be read, or is over ``max_megabytes``."""
    path = _path(clip)
    with _unreadable_media(path):
        return prefetch.read(clip, max_megabytes) if prefetch.needs_download(clip) else storage.read_bytes(path)


def _path(clip: Clip) -> str:
    if clip.media is None:
        raise DecodeError("no media file; set Clip.media")
    return clip.media.path


def _input(clip: Clip, max_megabytes: int) -> bytes | str | sandbox.Ranged:
    """Return a file's absolute path, its bytes, or a reader of its ranges: the decoding process has no network access."""
    path = _path(clip)
    with _unreadable_media(path):
        if prefetch.needs_download(clip):
            return _limited(prefetch.fetch(clip, max_megabytes), max_megabytes)
        if not os.path.isfile(path):
            # Reading a pipe might never end.
            raise DecodeError(f"no file {path}")
        storage.open_read(path).close()
    return os.path.abspath(path)


@contextlib.contextmanager
def _unreadable_media(path: str) -> Iterator[None]:
    """Turn failures to read one media file into DecodeError: they cost its clip, and ``--retry-failed`` tries it again.

    A store or a folder of temporary files that is gone concerns all clips, and stops the build.
    """
    try:
        yield
    except (StoreAwayError, ScratchError):
        raise
    except FileNotFoundError:
        raise DecodeError(f"no file {path}") from None
    except (StorageError, DamagedError) as error:
        raise DecodeError(str(error)) from error
    except OSError as error:
        raise DecodeError(f"{path} cannot be read: {error.strerror or error}") from error


def _limited(source: bytes | str | RangedFile, max_megabytes: int) -> bytes | str | sandbox.Ranged:
    """Return the decoder's input: bytes and paths unchanged, a span as ranges of up to ``max_megabytes`` in total."""
    if not isinstance(source, RangedFile):
        return source
    span, remaining_bytes = source, max_megabytes * 1_000_000

    def read(start: int, end: int) -> bytes:
        nonlocal remaining_bytes
        remaining_bytes -= end - start
        if remaining_bytes < 0:
            raise DecodeError(
                f"over {max_megabytes} MB of {span.url} for one clip; allow more with --max-file-mb, or fetch it first"
            )
        with _unreadable_media(span.url):
            return span.read(start, end)

    return sandbox.Ranged(span.url, span.num_bytes, read)
