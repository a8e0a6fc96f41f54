"""Video files through OpenCV, the last resort: it reads paths only, so bytes go through a private temporary file.

OpenCV's seeking is not exact, so frames are counted from the start; going backwards opens the file again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.packages import installed_version, why_not_imported
from t2vdata.media.decode.probe import AV1_DECODERS
from t2vdata.media.decode.rewrite import Readable, readable
from t2vdata.media.decode.video import Facts, Video, cpu_only, upright


def why_not(device: str) -> str | None:
    """Return why OpenCV cannot decode on ``device``, or None."""
    install = "pip install opencv-python-headless"
    reason = cpu_only(device) or why_not_imported("cv2", install=install, mend=f"{install}, which needs no display")
    if reason:
        return reason
    import cv2

    is_able = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    return None if is_able else f"built without FFmpeg; {install}"


def version() -> str | None:
    plain = "opencv-python-headless", "opencv-python"
    return installed_version(*plain, "opencv-contrib-python-headless", "opencv-contrib-python")


def open(source: bytes | str, device: str) -> Video:
    """Return a video whose frames OpenCV decodes."""
    found = probing.probe(source)
    if found.codec in AV1_DECODERS:
        raise DecodeError(f"OpenCV has no decoder for {found.codec} on the CPU; use backend='pyav'")
    if found.is_hdr:
        # It converts BT.2020 and PQ to the colours of a common screen; the others leave the values as they are.
        raise DecodeError("OpenCV changes the colours of high dynamic range video; use backend='pyav'")
    if found.is_interlaced:
        # Its swscale refuses them, of which only standard error hears; the pixels are those of some other memory.
        raise DecodeError("OpenCV cannot convert interlaced frames; use backend='pyav'")
    return Video(_Reader(readable(found)), Facts.of(found), backend="opencv", device=device)


class _Reader:
    def __init__(self, file: Readable) -> None:
        self._file = file
        self._aside: Any = None
        self._capture: Any = None
        self._next = 0
        if isinstance(file.source, bytes):
            # Readable by this user alone, and gone when it is closed.
            self._aside = tempfile.NamedTemporaryFile(prefix="t2vdata-", suffix=".video")  # noqa: SIM115
            self._aside.write(file.source)
            self._aside.flush()
        try:
            self._rewind()
        except DecodeError:
            self.close()
            raise

    def frames_at(self, indices: Sequence[int]) -> Any:
        import numpy as np

        taken: dict[int, Any] = {}
        for index in sorted({index + self._file.first for index in indices}):
            taken[index] = self._take(index)
        return upright(np.stack([taken[index + self._file.first] for index in indices]), self._file.turns)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        if self._aside is not None:
            self._aside.close()
            self._aside = None

    def _rewind(self) -> None:
        import cv2

        path = str(self._file.source) if self._aside is None else self._aside.name
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        self._next = 0
        if not self._capture.isOpened():
            raise DecodeError("OpenCV cannot open it; use backend='pyav'")

    def _take(self, index: int) -> Any:
        import cv2

        if index < self._next:
            self._capture.release()
            self._rewind()
        while self._next <= index:
            if not self._capture.grab():
                raise DecodeError(f"OpenCV stops before frame {self._next - self._file.first}; use backend='pyav'")
            self._next += 1
        done, picture = self._capture.retrieve()
        if not done:
            raise DecodeError(f"OpenCV gives no picture for frame {index - self._file.first}; use backend='pyav'")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
