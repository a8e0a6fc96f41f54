"""A video file as frames at indices or at times, whichever decoder gives the pixels."""

from __future__ import annotations

import bisect
import importlib
import math
import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Protocol

from t2vdata import storage
from t2vdata.errors import DecodeError, RequestError, unknown_name
from t2vdata.media.decode import containers
from t2vdata.media.decode import probe as probing

# One file each, the preferred first where two are about as fast.
BACKENDS = ("pyav", "torchcodec", "decord", "opencv", "lossless")
# Time stamps are rounded by their containers, and once more as floats: 2/30 s must find frame 2 of 30 a second.
ROUNDING_SECONDS = 1e-6


class Reader(Protocol):
    """One open file in one backend."""

    def frames_at(self, indices: Sequence[int]) -> Any:
        """Return the upright frames at valid ``indices``, in that order: (T, H, W, 3) uint8."""

    def close(self) -> None:
        """Let the file and the decoder go."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a video says of itself."""

    seconds: tuple[float, ...]
    height: int
    width: int
    fps: float

    @classmethod
    def of(cls, known: probing.Probe | Video) -> Facts:
        return cls(known.seconds, known.height, known.width, known.fps)


class Video:
    """Frames of one file; a context manager. Not for two threads at once, and not to be pickled."""

    def __init__(self, reader: Reader, facts: Facts, *, backend: str, device: str) -> None:
        self._reader: Reader | None = reader
        self.backend = backend
        """Which decoder gives the pixels."""
        self.device = device
        """Where frames are decoded: ``cpu`` also for frames that are then copied to the GPU."""
        self.seconds = facts.seconds
        """Start of each frame that decodes, by the container's clock, which need not begin at 0."""
        self.height = facts.height
        self.width = facts.width
        """Pixels of the upright frame."""
        self.fps = facts.fps
        """The container's average rate; frames need not be evenly spaced."""

    @property
    def num_frames(self) -> int:
        """Frames that really decode, which can be fewer than the container claims."""
        return len(self.seconds)

    def frames_at(self, indices: Iterable[int]) -> Any:
        """Return the frames at ``indices``, in that order, repeats allowed: (T, H, W, 3) uint8.

        A NumPy array, or on CUDA a torch tensor there. Raises RequestError for an index outside 0 to ``num_frames`` - 1, for
        more than MAX_PIXELS pixels at once, and after ``close``; DecodeError when the decoder cannot do it.
        """
        wanted = [operator.index(index) for index in indices]
        if self._reader is None:
            raise RequestError("the video is closed; open it again")
        for index in wanted:
            if not 0 <= index < self.num_frames:
                raise RequestError(f"no frame {index}; the video has {self.num_frames} frames, 0 to {self.num_frames - 1}")
        if len(wanted) * self.height * self.width > probing.MAX_PIXELS:
            raise RequestError(
                f"{len(wanted)} frames of {self.width}x{self.height} are over {probing.MAX_PIXELS} pixels; "
                "ask for fewer frames at once"
            )
        if not wanted:
            raise RequestError("no indices; ask for one frame or more")
        frames = self._reader.frames_at(wanted)
        expected = (len(wanted), self.height, self.width, 3)
        if tuple(frames.shape) != expected:
            raise DecodeError(f"{self.backend} gave {tuple(frames.shape)}, expected {expected}; use backend='pyav'")
        return frames

    def frames_at_times(self, seconds: Iterable[float]) -> Any:
        """Return the frame shown at each time, as ``frames_at`` does.

        A time before the first frame gives the first, one after the last gives the last that decodes.
        """
        times = [float(time) for time in seconds]
        if any(math.isnan(time) for time in times):
            raise RequestError(f"a time in {times} is no number")
        return self.frames_at(max(0, bisect.bisect_right(self.seconds, time + ROUNDING_SECONDS) - 1) for time in times)

    def close(self) -> None:
        """Let the file and the decoder go; a second time does nothing."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        size = f"{self.num_frames} frames of {self.width}x{self.height} at {self.fps:.4g} fps"
        return f"<Video: {size}, {self.backend} on {self.device}>"


def open_video(source: bytes | str | os.PathLike[str], *, backend: str = "auto", device: str = "cpu") -> Video:
    """Return a video to take frames from: the bytes of a file, its path, or its URL (read whole).

    ``backend`` is ``pyav``, ``torchcodec``, ``decord``, ``opencv``, ``lossless`` or ``auto``, the fastest that works here.
    ``device`` is ``cpu``, ``cuda`` or ``cuda:N``.

    Opening decodes the file once with PyAV, to know which frames really decode: clips of up to 16 million pixels stay
    decoded, so ``pyav`` does no work twice, and the others do theirs on top. On CUDA packets are counted instead.

    Damaged files give the frames up to the first damage, the same ones in every backend: up to a packet that is cut short,
    that FFmpeg refuses, or that changes the frame's size. Raises DecodeError, with the reason, where no frame comes before
    it, for what is no video container, and for what the backend cannot decode; RequestError for a backend or device that is
    not here.
    """
    given = _source(source)
    exact = containers.is_exact_array(_head(given))
    if backend == "auto" and exact:
        backend = "lossless"
    if backend == "auto":
        from t2vdata.media.decode import auto

        return auto.open(given, device)
    module = load(backend)
    reason = module.why_not(device)
    if reason:
        raise RequestError(f"{backend} on {device}: {reason}")
    if exact and backend != "lossless":
        raise DecodeError(f"an exact array (.npy.zst), no video container; use backend='lossless', not {backend!r}")
    video: Video = module.open(given, device)
    return video


def load(backend: str) -> ModuleType:
    """Return the module of a backend: ``why_not(device)``, ``version()`` and ``open(source, device)``."""
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, [*BACKENDS, "auto"])
    return importlib.import_module(f"t2vdata.media.decode.{backend}")


def cpu_only(device: str) -> str | None:
    """Return why a backend that has no GPU code cannot work on ``device``."""
    if device == "cpu":
        return None
    if device == "cuda" or device.startswith("cuda:"):
        return "decodes on the CPU only; use device='cpu', or backend='torchcodec'"
    return f"no device {device!r}; there is cpu and cuda"


def _source(source: bytes | str | os.PathLike[str]) -> bytes | str:
    """Return bytes as they are, a path as an absolute one, and what a URL holds."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    path = os.fspath(source)
    try:
        if storage.is_url(path):
            return storage.read_bytes(path)
        # Absolute, so that no decoder takes it for a protocol; opened, so that what is missing is missing for all alike.
        storage.open_read(path).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(f"no file {path}") from error
    return os.path.abspath(path)


def _head(source: bytes | str) -> bytes:
    if isinstance(source, bytes):
        return source[:8]
    with open(source, "rb") as file:
        return file.read(8)


def upright(frames: Any, turns: int) -> Any:
    """Return frames (T, H, W, C) turned by ``turns`` quarters against the clock, without gaps in memory."""
    import numpy as np

    return frames if turns % 4 == 0 else np.ascontiguousarray(np.rot90(frames, turns, axes=(1, 2)))
