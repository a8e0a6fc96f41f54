"""Choose the frames, crop and flip of each clip before any byte is read, and apply them.

The choices are plain numbers in one array, which can be sent to a worker; ``fit`` applies them to one clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from t2vdata import extras
from t2vdata.errors import RequestError
from t2vdata.loading.checks import CHECK_BYTES
from t2vdata.loading.order import RandomNumbers, choose
from t2vdata.loading.spec import LoadSpec, pair

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2vdata.loading.index import SplitIndex

    Array = NDArray[np.uint8]


class Decision(NamedTuple):
    """What to read for one clip of a batch, and how to transform it."""

    shard: int
    offset: int
    size: int
    extension: int
    """Index into ``SplitIndex.extensions``."""
    channels: int
    """Of the stored clip."""
    num_pixels: int
    """Of all frames of the stored clip, according to the index: the most that may be decoded."""
    height: int
    width: int
    """Size to resize to."""
    top: int
    left: int
    """Corner of the crop after resizing."""
    flip: int
    is_run: int
    """Whether the frames are consecutive."""
    frames: NDArray[np.int32]
    """(T,) indices of the frames; the first is -1 if the clip is too short and refused."""
    check: bytes
    """See checks.py."""


# Words that distinguish sides: left, right, leftmost, left-handed, rightwards ...
SIDES = re.compile(r"\b(left|right)(?=\b|most|ward|wards|hand)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def clip_shape(spec: LoadSpec, index: SplitIndex) -> tuple[int, int, int, int]:
    """Return (T, H, W, C) of every clip in a batch. Raises RequestError if clips differ and the spec does not unify them."""
    num_frames = spec.num_frames or index.common_value("num_frames")
    if num_frames is None:
        raise RequestError("clips have different numbers of frames; choose how many to take: LoadSpec(num_frames=16)")
    channels = spec.channels or index.common_value("channels")
    if channels is None:
        raise RequestError("some clips are grey and some RGB; choose one: LoadSpec(channels=3)")
    if spec.crop is not None:
        height, width = map(int, pair(spec.crop))
    elif isinstance(spec.resize, tuple):
        height, width = spec.resize
    else:
        same = index.common_value("height"), index.common_value("width")
        if same[0] is None or same[1] is None:
            raise RequestError("clips have different sizes; make them one: LoadSpec(resize=(64, 64)), or resize=64, crop=64")
        height, width = scaled(same[0], same[1], spec.resize)
    _refuse_small_clips(spec, index, height, width)
    return num_frames, height, width, channels


def check_normalization(spec: LoadSpec, channels: int) -> None:
    """Raise RequestError if the mean or the standard deviation is for another number of channels than the clips have."""
    for name, value in (("mean", spec.mean), ("std", spec.std)):
        if spec.dtype == "float32" and isinstance(value, tuple) and len(value) not in (1, channels):
            raise RequestError(
                f"LoadSpec.{name} {value} is for {len(value)} channels, and the clips have {channels}; give one number, or "
                "make the clips RGB: LoadSpec(channels=3)"
            )


def _refuse_small_clips(spec: LoadSpec, index: SplitIndex, height: int, width: int) -> None:
    import numpy as np

    sizes = np.unique(np.stack([index.numbers["height"], index.numbers["width"]]), axis=1)
    for source_height, source_width in sizes.T.tolist():
        resized = scaled(source_height, source_width, spec.resize)
        if resized[0] < height or resized[1] < width:
            raise RequestError(
                f"a crop of {width}x{height} does not fit into {resized[1]}x{resized[0]}; choose a smaller crop, or a larger "
                "resize"
            )


def scaled(height: int, width: int, resize: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return (height, width) after ``LoadSpec.resize``."""
    if resize is None:
        return height, width
    if isinstance(resize, tuple):
        return resize
    shorter = min(height, width)
    return round(height * resize / shorter), round(width * resize / shorter)


def job_type(num_frames: int) -> np.dtype[Any]:
    """Return the dtype of a job, which has a row for each clip with the fields of ``Decision``."""
    import numpy as np

    others: dict[str, Any] = {"frames": np.dtype(("<i4", (num_frames,))), "check": f"V{CHECK_BYTES}"}
    return np.dtype([(name, others.get(name, "<i8")) for name in Decision._fields])


def decide(
    spec: LoadSpec,
    index: SplitIndex,
    rows: NDArray[np.int64],
    random_numbers: Sequence[RandomNumbers] | None,
    shape: Sequence[int],
) -> NDArray[Any]:
    """Return the job for samples whose clips become ``shape``, (T, H, W, C): decisions, (B,) of ``job_type``."""
    import numpy as np

    num_frames, height, width, _ = shape
    job = np.zeros(len(rows), job_type(num_frames))
    column = index.numbers
    job["shard"], job["offset"], job["size"] = index.shard[rows], column["pixels_offset"][rows], column["pixels_size"][rows]
    job["extension"], job["channels"] = index.extension[rows], column["channels"][rows]
    job["num_pixels"] = column["num_frames"][rows].astype(np.int64) * column["height"][rows] * column["width"][rows]
    job["frames"] = frame_indices(spec, num_frames, column["num_frames"][rows], column["fps"][rows], random_numbers)
    job["is_run"] = (job["frames"] == job["frames"][:, :1] + np.arange(num_frames)).all(axis=1)
    sources = zip(column["height"][rows].tolist(), column["width"][rows].tolist(), strict=True)
    sizes = np.array([scaled(*source, spec.resize) for source in sources])
    job["height"], job["width"] = sizes[:, 0], sizes[:, 1]
    margins = sizes - (height, width)
    if spec.crop_at == "random" and random_numbers is not None:
        job["top"] = [
            choose(numbers.top, int(margin) + 1) for numbers, margin in zip(random_numbers, margins[:, 0], strict=True)
        ]
        job["left"] = [
            choose(numbers.left, int(margin) + 1) for numbers, margin in zip(random_numbers, margins[:, 1], strict=True)
        ]
    else:
        job["top"], job["left"] = margins[:, 0] // 2, margins[:, 1] // 2
    if spec.flip and random_numbers is not None:
        job["flip"] = [choose(numbers.flip, 2) for numbers in random_numbers]
    return job


def frame_indices(
    spec: LoadSpec, num_frames: int, available: NDArray[Any], fps: NDArray[Any], random_numbers: Sequence[RandomNumbers] | None
) -> NDArray[np.int64]:
    """Return the indices of the frames to take, (B, T), from clips of ``available`` frames; -1 for refused short clips."""
    import numpy as np

    step = fps / spec.fps if spec.fps is not None else np.full(len(available), float(spec.stride))
    # A frame is shown until the next, so a time between two frames takes the earlier. 1e-6 allows for inexact rates.
    offsets = np.floor(np.arange(num_frames) * step[:, None] + 1e-6).astype(np.int64)
    num_spare = available.astype(np.int64) - 1 - offsets[:, -1]
    if spec.start == "random" and random_numbers is not None:
        first = np.array(
            [choose(numbers.start, max(0, int(spare)) + 1) for numbers, spare in zip(random_numbers, num_spare, strict=True)]
        )
    elif spec.start == "centre":
        first = np.maximum(num_spare, 0) // 2
    else:
        first = np.zeros(len(available), np.int64)
    indices = first[:, None] + offsets
    last = available.astype(np.int64)[:, None] - 1
    match spec.short:
        case "hold":
            return np.minimum(indices, last)
        case "loop":
            return indices % (last + 1)
        case "refuse":
            return np.where(num_spare[:, None] < 0, -1, indices)


def is_random(spec: LoadSpec, index: SplitIndex, num_frames: int) -> bool:
    """Return whether any choice is random; a random start is not, if no clip has a frame to spare."""
    can_vary_start = spec.fps is not None or bool((index.numbers["num_frames"] > (num_frames - 1) * spec.stride + 1).any())
    can_vary_caption = spec.captions == "one" and not index.has_one_caption_each
    return spec.flip or spec.crop_at == "random" or can_vary_caption or (spec.start == "random" and can_vary_start)


def decisions(job: NDArray[Any]) -> Iterator[Decision]:
    """Yield the rows of a job."""
    columns = [job[name].tolist() if name != "frames" else list(job[name]) for name in Decision._fields]
    return map(Decision._make, zip(*columns, strict=True))


def fit(frames: Array, decision: Decision, out: Array) -> None:
    """Resize, crop and flip frames (T, H, W, C) as decided, into ``out``."""
    size, top, left = (decision.height, decision.width), decision.top, decision.left
    height, width = out.shape[1:3]
    if frames.shape[1:3] == size:
        part = frames[:, top : top + height, left : left + width]
        out[:] = part[:, :, ::-1] if decision.flip else part
        return
    cv2 = extras.load("cv2", "resizing")
    # Shrinking averages areas, so that nothing flickers; growing interpolates.
    shrinks = size[0] * size[1] < frames.shape[1] * frames.shape[2]
    for position, frame in enumerate(frames):
        resized = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        part = resized.reshape(*size, -1)[top : top + height, left : left + width]
        out[position] = part[:, ::-1] if decision.flip else part


def swap_sides(caption: str) -> str:
    """Return a caption with "left" and "right" swapped, preserving capitals."""

    def other(match: re.Match[str]) -> str:
        word = match.group()
        new = _OTHER[word.lower()]
        return new.upper() if word.isupper() else new.capitalize() if word[0].isupper() else new

    return SIDES.sub(other, caption)


def check_flip(spec: LoadSpec, index: SplitIndex) -> None:
    """Raise RequestError if flipping would make labels or captions wrong."""
    if not spec.flip:
        return
    for label in index.labels:
        if SIDES.search(label):
            raise RequestError(f"flip: the label {label!r} mentions left or right and would be wrong; leave out flip")
    if spec.flip_captions:
        return
    for caption_id in range(index.num_captions):
        if SIDES.search(index.caption(caption_id)):
            raise RequestError(
                f"flip: the caption {index.caption(caption_id)!r} mentions left or right and would be wrong; leave "
                "out flip, or add flip_captions=True to swap the words"
            )
