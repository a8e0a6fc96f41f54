"""`Prefetcher`: downloads the media files of the next few clips while one is decoded.

A file is downloaded whole: into memory, or above 8 MiB into a nameless file in the folder of temporary files (``TMPDIR``). If a
clip needs only a span of a file over 32 MiB, only the ranges that the decoder reads are downloaded. Four files are downloaded
ahead; they pause while 256 MiB wait to be decoded. Files in archives are read by their range, those in gzipped archives by
streaming the archive past them, in the order in which they are needed.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Sequence
from types import TracebackType

from t2vdata import storage
from t2vdata.storage.media_download import Budget, Download, DownloadThreads, Limits, RangedFile
from t2vdata.types import Clip, MediaRef

_current: contextvars.ContextVar[Prefetcher | None] = contextvars.ContextVar("t2vdata_prefetcher", default=None)


class Prefetcher:
    """Downloads the files of some clips, a few ahead, in their order. In its block, ``fetch`` and ``read`` use it.

    Nothing is downloaded before the first clip is fetched.
    """

    def __init__(self, clips: Sequence[Clip], limits: Limits | None = None) -> None:
        self._clips = clips
        self._limits = limits or Limits()
        self._budget = Budget(self._limits.ahead_bytes)
        self._next_index = 0
        self._downloads: dict[tuple[str, int | None, bool], Download] = {}
        self._last_gzipped: Download | None = None
        self._previous: Prefetcher | None = None

    @property
    def peak_bytes(self) -> int:
        """Maximum number of bytes that waited to be decoded."""
        return self._budget.peak_bytes

    def __enter__(self) -> Prefetcher:
        self._previous = _current.get()
        _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        _current.set(self._previous)

    def close(self) -> None:
        """Discard all downloads."""
        while self._downloads:
            self._downloads.popitem()[1].discard()

    def fetch(self, clip: Clip, max_megabytes: int) -> bytes | str | RangedFile:
        """Return the file of a clip: see the function ``fetch``."""
        indices = range(self._next_index, len(self._clips))
        index = next((index for index in indices if self._clips[index].key == clip.key), None)
        if index is not None:
            self._next_index = index + 1
        max_bytes = max_megabytes * 1_000_000
        needed = self._start(clip, max_bytes)
        # The files of the next clips, once each; those before this clip are no longer needed.
        kept = {id(needed)}
        for index in range(self._next_index, len(self._clips)):
            if len(kept) > self._limits.num_ahead:
                break
            if needs_download(self._clips[index]):
                kept.add(id(self._start(self._clips[index], max_bytes)))
        for key, download in list(self._downloads.items()):
            if id(download) not in kept:
                self._downloads.pop(key).discard()
        self._budget.prioritize(needed)
        return needed.result()

    def _start(self, clip: Clip, max_bytes: int) -> Download:
        has_span = clip.start_seconds is not None or clip.end_seconds is not None
        media = _media(clip)
        key = (media.path, media.offset, has_span)
        if key not in self._downloads:
            threads = _threads_of_this_process()
            download = self._downloads[key] = Download(
                media,
                has_span=has_span,
                max_bytes=max_bytes,
                limits=self._limits,
                budget=self._budget,
                shared_stream=threads.shared_stream,
                after=self._last_gzipped if media.is_gzipped else None,
            )
            if media.is_gzipped:
                self._last_gzipped = download
            threads.submit(download)
        return self._downloads[key]


def needs_download(clip: Clip) -> bool:
    """Return whether the file of a clip is at a URL or in an archive; other files are read where they are."""
    return clip.media is not None and (clip.media.is_in_archive or storage.is_url(clip.media.path))


def fetch(clip: Clip, max_megabytes: int) -> bytes | str | RangedFile:
    """Return the file of a clip, at a URL or in an archive, from the current ``Prefetcher`` if there is one.

    Returns its bytes, or the path of a scratch file that lasts until the next call, or a file to be read by ranges. Raises
    DecodeError for a file over ``max_megabytes``, and as ``storage.blocks``.
    """
    prefetcher = _current.get()
    if prefetcher is not None:
        return prefetcher.fetch(clip, max_megabytes)
    with Prefetcher([clip]) as alone:
        source = alone.fetch(clip, max_megabytes)
        # A scratch file ends with its prefetcher.
        return _read(source) if isinstance(source, str) else source


def read(clip: Clip, max_megabytes: int) -> bytes:
    """Return the bytes of a clip's file, at a URL or in an archive. Raises as ``fetch``."""
    source = fetch(clip, max_megabytes)
    return source.read(0, source.num_bytes) if isinstance(source, RangedFile) else _read(source)


def _read(source: bytes | str) -> bytes:
    return source if isinstance(source, bytes) else storage.read_bytes(source)


def _media(clip: Clip) -> MediaRef:
    if clip.media is None:
        raise ValueError(f"clip {clip.key} has no media file")
    return clip.media


_threads: dict[int, DownloadThreads] = {}


def _threads_of_this_process() -> DownloadThreads:
    # By process: a fork does not copy threads.
    process = os.getpid()
    if process not in _threads:
        _threads[process] = DownloadThreads(Limits().num_ahead)
    return _threads[process]
