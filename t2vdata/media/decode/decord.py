"""The decord backend: bundles an FFmpeg from 2018, so no AV1 and no GIF. CPU only; the wheel has no GPU code.

decord hangs or crashes if a container promises more frames than it has, so it only gets files that PyAV has decoded before,
or clean copies of them.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.installed import installed_version, why_not_imported
from t2vdata.media.decode.probe import AV1_DECODERS
from t2vdata.media.decode.remux import Readable, readable
from t2vdata.media.decode.video import Video, VideoInfo, cpu_only

# After a seek in HEVC or MPEG-4, decord returns a nearby frame. Any codec but these is read from the start, as are files with
# key frames at which decoding cannot begin: decord's parser recognises them even if the container does not mark them.
_SEEKABLE_CODECS = ("h264", "vp8", "vp9")


def why_not(device: str) -> str | None:
    """Return why decord cannot decode on ``device``, or None."""
    install, repair = "pip install decord (Linux x86-64), or decord2", "pip install --force-reinstall decord"
    return cpu_only(device) or why_not_imported("decord", install=install, repair=repair)


def version() -> str | None:
    return installed_version("decord", "decord2")


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with decord."""
    probe = probing.probe(source)
    if probe.codec in (*AV1_DECODERS, "gif"):
        # decord finds no duration in a GIF of one picture, and stale pixels in a truncated GIF.
        raise DecodeError(f"decord does not decode {probe.codec}; use backend='pyav'")
    reader = _Reader(readable(probe, ("matroska", "nut")), can_seek=probe.codec in _SEEKABLE_CODECS and probe.has_closed_groups)
    return Video(reader, VideoInfo.of(probe), backend="decord", device=device)


class _Reader:
    def __init__(self, file: Readable, *, can_seek: bool) -> None:
        decord = _decord()
        self._file = file
        self._can_seek = can_seek
        source = io.BytesIO(file.source) if isinstance(file.source, bytes) else file.source
        try:
            self._reader: Any = decord.VideoReader(source, ctx=decord.cpu(0), num_threads=1)
        except decord.DECORDError as error:
            raise DecodeError(f"decord cannot open it: {_sentence(error)}; use backend='pyav'") from error
        # Beyond the last frame, decord searches forever and holds the GIL.
        if len(self._reader) != file.num_frames:
            raise DecodeError(f"decord counts {len(self._reader)} frames of {file.num_frames}; use backend='pyav'")

    def frames_at(self, indices: Sequence[int]) -> Any:
        distinct = sorted({index + self._file.first for index in indices})
        try:
            frames = self._reader.get_batch(distinct).asnumpy() if self._can_seek else self._read_from_start(distinct)
        except _decord().DECORDError as error:
            raise DecodeError(f"decord: {_sentence(error)}; use backend='pyav'") from error
        row_of = {number: row for row, number in enumerate(distinct)}
        return self._file.orientation.upright(frames[[row_of[index + self._file.first] for index in indices]])

    def _read_from_start(self, rising: Sequence[int]) -> Any:
        """Return the frames (T, H, W, 3) at rising numbers, reading every frame up to the last."""
        import numpy as np

        self._reader.seek(0)
        frames = []
        for number in range(rising[-1] + 1):
            frame = self._reader.next()
            if number in rising:
                frames.append(frame.asnumpy())
        return np.stack(frames)

    def close(self) -> None:
        self._reader = None


@functools.cache
def _decord() -> Any:
    import decord

    # It writes FFmpeg's messages to standard error, including whole files.
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _sentence(error: Exception) -> str:
    """Return decord's message without its time, source line and stack."""
    text = str(error).split("\n")[0]
    return text.rsplit("] ", 1)[-1].strip() or type(error).__name__
