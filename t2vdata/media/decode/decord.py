"""Video files through decord, which brings an FFmpeg of 2018: no AV1, no GIF. On the CPU; the wheel has no GPU code.

decord hangs or crashes where a container promises more frames than it has, so it only meets files that PyAV has decoded
before, or their clean copies.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.packages import installed_version, why_not_imported
from t2vdata.media.decode.probe import AV1_DECODERS
from t2vdata.media.decode.rewrite import Readable, readable
from t2vdata.media.decode.video import Facts, Video, cpu_only, upright

# After a jump in HEVC or MPEG-4, decord shows a frame nearby: all but these are read from the start.
_SEEKS_WELL = ("h264", "vp8", "vp9")


def why_not(device: str) -> str | None:
    """Return why decord cannot decode on ``device``, or None."""
    install, mend = "pip install decord (Linux x86-64), or decord2", "pip install --force-reinstall decord"
    return cpu_only(device) or why_not_imported("decord", install=install, mend=mend)


def version() -> str | None:
    return installed_version("decord", "decord2")


def open(source: bytes | str, device: str) -> Video:
    """Return a video whose frames decord decodes."""
    found = probing.probe(source)
    if found.codec in (*AV1_DECODERS, "gif"):
        # It finds no duration in a GIF of one picture, and stale pixels in one that is cut short.
        raise DecodeError(f"decord does not decode {found.codec}; use backend='pyav'")
    reader = _Reader(readable(found, ("matroska", "nut")), seeks_wrongly=found.codec not in _SEEKS_WELL)
    return Video(reader, Facts.of(found), backend="decord", device=device)


class _Reader:
    def __init__(self, file: Readable, *, seeks_wrongly: bool) -> None:
        decord = _decord()
        self._file = file
        self._seeks_wrongly = seeks_wrongly
        source = io.BytesIO(file.source) if isinstance(file.source, bytes) else file.source
        try:
            self._reader: Any = decord.VideoReader(source, ctx=decord.cpu(0), num_threads=1)
        except decord.DECORDError as error:
            raise DecodeError(f"decord cannot open it: {_sentence(error)}; use backend='pyav'") from error
        # Beyond the last frame decord searches for ever, with Python's lock held.
        if len(self._reader) != file.num_frames:
            raise DecodeError(f"decord counts {len(self._reader)} frames of {file.num_frames}; use backend='pyav'")

    def frames_at(self, indices: Sequence[int]) -> Any:
        rising = sorted({index + self._file.first for index in indices})
        try:
            frames = self._one_by_one(rising) if self._seeks_wrongly else self._reader.get_batch(rising).asnumpy()
        except _decord().DECORDError as error:
            raise DecodeError(f"decord: {_sentence(error)}; use backend='pyav'") from error
        place = {number: place for place, number in enumerate(rising)}
        return upright(frames[[place[index + self._file.first] for index in indices]], self._file.turns)

    def _one_by_one(self, rising: Sequence[int]) -> Any:
        """Return frames (T, H, W, 3), read from the start of the file to the last of them."""
        import numpy as np

        self._reader.seek(0)
        taken = []
        for number in range(rising[-1] + 1):
            frame = self._reader.next()
            if number in rising:
                taken.append(frame.asnumpy())
        return np.stack(taken)

    def close(self) -> None:
        self._reader = None


@functools.cache
def _decord() -> Any:
    import decord

    # It writes FFmpeg's remarks to standard error, and whole files with them.
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _sentence(error: Exception) -> str:
    """Return what decord says, without its time, place and stack."""
    text = str(error).split("\n")[0]
    return text.rsplit("] ", 1)[-1].strip() or type(error).__name__
