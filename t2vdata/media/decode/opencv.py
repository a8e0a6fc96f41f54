"""The OpenCV backend, the last resort. OpenCV reads only paths, so bytes go through a private temporary file.

Its seeking is inexact, so frames are counted from the start; going backwards reopens the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.installed import installed_version, why_not_imported
from t2vdata.media.decode.probe import AV1_DECODERS
from t2vdata.media.decode.remux import Readable, readable
from t2vdata.media.decode.video import Video, VideoInfo, cpu_only


def why_not(device: str) -> str | None:
    """Return why OpenCV cannot decode on ``device``, or None."""
    install = "pip install opencv-python-headless"
    reason = cpu_only(device) or why_not_imported("cv2", install=install, repair=f"{install}, which needs no display")
    if reason:
        return reason
    import cv2

    is_able = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    return None if is_able else f"built without FFmpeg; {install}"


def version() -> str | None:
    plain = "opencv-python-headless", "opencv-python"
    return installed_version(*plain, "opencv-contrib-python-headless", "opencv-contrib-python")


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with OpenCV."""
    probe = probing.probe(source)
    if probe.codec in AV1_DECODERS:
        raise DecodeError(f"OpenCV has no decoder for {probe.codec} on the CPU; use backend='pyav'")
    if probe.is_hdr:
        # OpenCV converts BT.2020 and PQ to standard colours; the other backends leave the values unchanged.
        raise DecodeError("OpenCV changes the colours of high dynamic range video; use backend='pyav'")
    if probe.is_interlaced:
        # Its swscale refuses them with only a message on standard error, and the pixels are uninitialised memory.
        raise DecodeError("OpenCV cannot convert interlaced frames; use backend='pyav'")
    return Video(_Reader(readable(probe)), VideoInfo.of(probe), backend="opencv", device=device)


class _Reader:
    def __init__(self, file: Readable) -> None:
        self._file = file
        self._temporary: Any = None
        self._capture: Any = None
        self._next = 0
        if isinstance(file.source, bytes):
            # Readable only by this user, and deleted on close.
            self._temporary = tempfile.NamedTemporaryFile(prefix="t2vdata-", suffix=".video")  # noqa: SIM115
            self._temporary.write(file.source)
            self._temporary.flush()
        try:
            self._rewind()
        except DecodeError:
            self.close()
            raise

    def frames_at(self, indices: Sequence[int]) -> Any:
        import numpy as np

        frames: dict[int, Any] = {}
        for index in sorted({index + self._file.first for index in indices}):
            frames[index] = self._read(index)
        return self._file.orientation.upright(np.stack([frames[index + self._file.first] for index in indices]))

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        if self._temporary is not None:
            self._temporary.close()
            self._temporary = None

    def _rewind(self) -> None:
        import cv2

        path = str(self._file.source) if self._temporary is None else self._temporary.name
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self._next = 0
        if not self._capture.isOpened():
            raise DecodeError("OpenCV cannot open it; use backend='pyav'")

    def _read(self, index: int) -> Any:
        import cv2

        if index < self._next:
            self._capture.release()
            self._rewind()
        while self._next <= index:
            if not self._capture.grab():
                raise DecodeError(f"OpenCV stops before frame {self._next - self._file.first}; use backend='pyav'")
            self._next += 1
        has_picture, picture = self._capture.retrieve()
        if not has_picture:
            raise DecodeError(f"OpenCV gives no picture for frame {index - self._file.first}; use backend='pyav'")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
