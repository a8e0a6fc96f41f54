"""``open_video``: any video file, through the backend that the caller names or the fastest that works here."""

from __future__ import annotations

import os

from t2vdata import storage
from t2vdata.errors import DecodeError, RequestError
from t2vdata.media.decode import auto, containers
from t2vdata.media.decode.backends import load
from t2vdata.media.decode.video import Video


def open_video(source: bytes | str | os.PathLike[str], *, backend: str = "auto", device: str = "cpu") -> Video:
    """Open a video file, given as bytes, path or URL (read whole), to take frames from it.

    ``backend`` is ``pyav``, ``torchcodec``, ``decord``, ``opencv``, ``lossless`` or ``auto``, the fastest that works here.
    ``device`` is ``cpu``, ``cuda`` or ``cuda:N``. Animated WebP, PNG and AVIF are videos for ``auto`` and ``pyav``.

    Opening decodes the file once with PyAV to learn which frames really decode. Clips of up to 16 million pixels stay decoded,
    so ``pyav`` does no work twice; the other backends decode on top of that. On CUDA packets are counted instead.

    A damaged file gives the frames before the first damage, the same frames in every backend. Damage is a packet that is cut
    short, that FFmpeg refuses, or that changes the frame size. Raises DecodeError with the reason if no frame comes before it,
    if the file is no video container, or if the backend cannot decode it; RequestError if backend or device are not available.
    """
    content = _content(source)
    is_exact = containers.is_exact_array(_first_bytes(content))
    if backend == "auto" and is_exact:
        backend = "lossless"
    if backend == "auto":
        return auto.open(content, device)
    module = load(backend)
    reason = module.why_not(device)
    if reason:
        raise RequestError(f"{backend} on {device}: {reason}")
    if is_exact and backend != "lossless":
        raise DecodeError(f"an exact array (.npy.zst), not a video container; use backend='lossless', not {backend!r}")
    video: Video = module.open(content, device)
    return video


def _content(source: bytes | str | os.PathLike[str]) -> bytes | str:
    """Return bytes unchanged, a path as an absolute path, and a URL as the bytes behind it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    path = os.fspath(source)
    try:
        if storage.is_url(path):
            return storage.read_bytes(path, is_bounded=False)
        # Opened here so that a missing file gives the same error in every backend.
        storage.open_read(path).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(f"no file {path}") from error
    # Absolute, so that no decoder takes it for a protocol.
    return os.path.abspath(path)


def _first_bytes(source: bytes | str) -> bytes:
    if isinstance(source, bytes):
        return source[:8]
    with open(source, "rb") as file:
        return file.read(8)
