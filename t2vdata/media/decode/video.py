"""``Video``: frames of one file at indices or at times, whichever backend decodes them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from t2vdata.errors import DecodeError, RequestError
from t2vdata.media.decode import probe as probing
from t2vdata.media.frame_times import rounding_seconds, shown_at


class Reader(Protocol):
    """One open file in one backend."""

    def frames_at(self, indices: Sequence[int]) -> Any:
        """Return the upright frames at valid ``indices``, in that order: (T, H, W, 3) uint8."""

    def close(self) -> None:
        """Release the file and the decoder."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Frame times, size and rate of a video."""

    seconds: tuple[float, ...]
    height: int
    width: int
    fps: float
    end_seconds: float
    tick_seconds: float = 0.0

    @classmethod
    def of(cls, video: probing.Probe | Video) -> VideoInfo:
        return cls(video.seconds, video.height, video.width, video.fps, video.end_seconds, video.tick_seconds)


class Video:
    """Frames of one file. A context manager; neither thread-safe nor picklable."""

    def __init__(self, reader: Reader, info: VideoInfo, *, backend: str, device: str) -> None:
        self._reader: Reader | None = reader
        self.backend = backend
        """The decoder that gives the pixels."""
        self.device = device
        """Where frames are decoded; ``cpu`` also if they are then copied to the GPU."""
        self.seconds = info.seconds
        """Start of each frame that decodes, on the container's clock, which need not start at 0."""
        self.end_seconds = info.end_seconds
        """End of the last frame."""
        self.tick_seconds = info.tick_seconds
        """Unit of the container's clock, to which it rounds; 0 for exact times."""
        self.height = info.height
        self.width = info.width
        """Pixels of the upright frame."""
        self.fps = info.fps
        """The container's average rate; frames need not be evenly spaced."""

    @property
    def num_frames(self) -> int:
        """Number of frames that really decode, which may be fewer than the container claims."""
        return len(self.seconds)

    def frames_at(self, indices: Iterable[int]) -> Any:
        """Decode the frames at ``indices``, in that order, repeats allowed: (T, H, W, 3) uint8.

        A NumPy array, or on CUDA a torch tensor there. Raises RequestError for an index outside 0 to ``num_frames`` - 1, for
        more than MAX_PIXELS pixels at once, and after ``close``; DecodeError if the decoder fails.
        """
        requested = [operator.index(index) for index in indices]
        if self._reader is None:
            raise RequestError("the video is closed; open it again")
        for index in requested:
            if not 0 <= index < self.num_frames:
                raise RequestError(f"no frame {index}; the video has {self.num_frames} frames, 0 to {self.num_frames - 1}")
        if len(requested) * self.height * self.width > probing.MAX_PIXELS:
            raise RequestError(
                f"{len(requested)} frames of {self.width}x{self.height} are over {probing.MAX_PIXELS} pixels; "
                "ask for fewer frames at once"
            )
        if not requested:
            raise RequestError("no indices; ask for one frame or more")
        frames = self._reader.frames_at(requested)
        expected = (len(requested), self.height, self.width, 3)
        if tuple(frames.shape) != expected:
            raise DecodeError(f"{self.backend} gave {tuple(frames.shape)}, expected {expected}; use backend='pyav'")
        return frames

    def frames_at_times(self, seconds: Iterable[float]) -> Any:
        """Decode the frame shown at each time, as ``frames_at`` does. docs/format.md states which frame that is.

        A time before the first frame gives the first frame; a time after the last gives the last frame that decodes.
        """
        times = [float(time) for time in seconds]
        if any(math.isnan(time) for time in times):
            raise RequestError(f"a time in {times} is not a number")
        return self.frames_at(shown_at(times, self.seconds, rounding_seconds(self.tick_seconds)))

    def close(self) -> None:
        """Release the file and the decoder; a second call does nothing."""
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


def cpu_only(device: str) -> str | None:
    """Return why a backend without GPU code cannot work on ``device``, or None."""
    if device == "cpu":
        return None
    if device == "cuda" or device.startswith("cuda:"):
        return "decodes on the CPU only; use device='cpu', or backend='torchcodec'"
    return f"no device {device!r}; expected cpu or cuda"
