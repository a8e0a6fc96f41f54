"""Which frames, which part of them, mirrored or not: decided for a whole batch before a byte of it is read.

Decisions are plain numbers in one array, so that they cross to a worker as they are; ``fit`` carries them out on one clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from t2vdata.errors import RequestError
from t2vdata.loading.order import Draws, below
from t2vdata.loading.spec import LoadSpec, pair

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2vdata.loading.index import SplitTable

    Array = NDArray[np.uint8]


class Decision(NamedTuple):
    """What to read for one place of a batch, and what to do with it."""

    shard: int
    offset: int
    size: int
    extension: int
    """Place in the table's ``extensions``."""
    channels: int
    """Of the clip as it is stored."""
    height: int
    width: int
    """Size to resize to."""
    top: int
    left: int
    """Corner of the part that is cut out then."""
    flip: int
    is_run: int
    """Whether the frames follow one another."""
    frames: NDArray[np.int32]
    """(T,) numbers of the frames; the first is -1 where the clip is refused for being short."""


# What is told apart by its side: left, right, leftmost, left-handed, rightwards ...
SIDES = re.compile(r"\b(left|right)(?=\b|most|ward|wards|hand)", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def clip_shape(spec: LoadSpec, table: SplitTable) -> tuple[int, int, int, int]:
    """Return (T, H, W, C) of every clip in a batch. Raises RequestError where clips differ and the spec leaves them so."""
    num_frames = spec.num_frames or table.same("num_frames")
    if num_frames is None:
        raise RequestError("clips have different numbers of frames; say how many to take: LoadSpec(num_frames=16)")
    channels = spec.channels or table.same("channels")
    if channels is None:
        raise RequestError("some clips are grey and some RGB; say which you want: LoadSpec(channels=3)")
    if spec.crop is not None:
        height, width = map(int, pair(spec.crop))
    elif isinstance(spec.resize, tuple):
        height, width = spec.resize
    else:
        same = table.same("height"), table.same("width")
        if same[0] is None or same[1] is None:
            raise RequestError("clips have different sizes; make them one: LoadSpec(resize=(64, 64)), or resize=64, crop=64")
        height, width = scaled(same[0], same[1], spec.resize)
    _refuse_small_clips(spec, table, height, width)
    return num_frames, height, width, channels


def _refuse_small_clips(spec: LoadSpec, table: SplitTable, height: int, width: int) -> None:
    import numpy as np

    sizes = np.unique(np.stack([table.numbers["height"], table.numbers["width"]]), axis=1)
    for source_height, source_width in sizes.T.tolist():
        had = scaled(source_height, source_width, spec.resize)
        if had[0] < height or had[1] < width:
            raise RequestError(
                f"a crop of {width}x{height} does not fit into {had[1]}x{had[0]}; choose a smaller crop, or a larger resize"
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
    """Return the type of a batch's decisions: a row for each clip, of the fields of ``Decision``."""
    import numpy as np

    return np.dtype([(name, "<i4", (num_frames,)) if name == "frames" else (name, "<i8") for name in Decision._fields])


def decide(
    spec: LoadSpec, table: SplitTable, rows: NDArray[np.int64], draws: Sequence[Draws] | None, shape: Sequence[int]
) -> NDArray[Any]:
    """Return the decisions for some samples, (B,) of ``job_type``, whose clips become ``shape``, (T, H, W, C)."""
    import numpy as np

    num_frames, height, width, _ = shape
    job = np.zeros(len(rows), job_type(num_frames))
    column = table.numbers
    job["shard"], job["offset"], job["size"] = table.shard[rows], column["pixels_offset"][rows], column["pixels_size"][rows]
    job["extension"], job["channels"] = table.extension[rows], column["channels"][rows]
    job["frames"] = frame_numbers(spec, num_frames, column["num_frames"][rows], column["fps"][rows], draws)
    job["is_run"] = (job["frames"] == job["frames"][:, :1] + np.arange(num_frames)).all(axis=1)
    sources = zip(column["height"][rows].tolist(), column["width"][rows].tolist(), strict=True)
    sizes = np.array([scaled(*source, spec.resize) for source in sources])
    job["height"], job["width"] = sizes[:, 0], sizes[:, 1]
    room = sizes - (height, width)
    if spec.crop_at == "random" and draws is not None:
        job["top"] = [below(draw.top, int(most) + 1) for draw, most in zip(draws, room[:, 0], strict=True)]
        job["left"] = [below(draw.left, int(most) + 1) for draw, most in zip(draws, room[:, 1], strict=True)]
    else:
        job["top"], job["left"] = room[:, 0] // 2, room[:, 1] // 2
    if spec.flip and draws is not None:
        job["flip"] = [below(draw.flip, 2) for draw in draws]
    return job


def frame_numbers(
    spec: LoadSpec, count: int, had: NDArray[Any], fps: NDArray[Any], draws: Sequence[Draws] | None
) -> NDArray[np.int64]:
    """Return the numbers of the frames to take, (B, T), from clips of ``had`` frames; -1 where a short clip is refused."""
    import numpy as np

    step = fps / spec.fps if spec.fps is not None else np.full(len(had), float(spec.stride))
    # A frame is shown until the next: of a time between two, the earlier. 1e-6 makes up for rates that are not exact.
    ahead = np.floor(np.arange(count) * step[:, None] + 1e-6).astype(np.int64)
    room = had.astype(np.int64) - 1 - ahead[:, -1]
    if spec.start == "random" and draws is not None:
        first = np.array([below(draw.start, max(0, int(most)) + 1) for draw, most in zip(draws, room, strict=True)])
    elif spec.start == "centre":
        first = np.maximum(room, 0) // 2
    else:
        first = np.zeros(len(had), np.int64)
    numbers = first[:, None] + ahead
    last = had.astype(np.int64)[:, None] - 1
    match spec.short:
        case "hold":
            return np.minimum(numbers, last)
        case "loop":
            return numbers % (last + 1)
        case "refuse":
            return np.where(room[:, None] < 0, -1, numbers)


def is_random(spec: LoadSpec, table: SplitTable, num_frames: int) -> bool:
    """Return whether anything about a sample is drawn: where clips have no frame to spare, a random start is none."""
    has_room = spec.fps is not None or bool((table.numbers["num_frames"] > (num_frames - 1) * spec.stride + 1).any())
    has_choice = spec.captions == "one" and not table.has_one_caption_each
    return spec.flip or spec.crop_at == "random" or has_choice or (spec.start == "random" and has_room)


def decisions(job: NDArray[Any]) -> Iterator[Decision]:
    """Yield the rows of a job."""
    columns = [job[name].tolist() if name != "frames" else list(job[name]) for name in Decision._fields]
    return map(Decision._make, zip(*columns, strict=True))


def fit(frames: Array, decision: Decision, out: Array) -> None:
    """Resize, crop and mirror frames (T, H, W, C) as decided, into ``out``."""
    import cv2

    size, top, left = (decision.height, decision.width), decision.top, decision.left
    height, width = out.shape[1:3]
    if frames.shape[1:3] == size:
        part = frames[:, top : top + height, left : left + width]
        out[:] = part[:, :, ::-1] if decision.flip else part
        return
    # Area averages when it shrinks, so that nothing flickers; between two when it grows.
    shrinks = size[0] * size[1] < frames.shape[1] * frames.shape[2]
    for number, frame in enumerate(frames):
        whole = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        part = whole.reshape(*size, -1)[top : top + height, left : left + width]
        out[number] = part[:, ::-1] if decision.flip else part


def mirrored(caption: str) -> str:
    """Return a caption with left and right exchanged, capitals kept."""

    def other(found: re.Match[str]) -> str:
        word = found.group()
        new = _OTHER[word.lower()]
        return new.upper() if word.isupper() else new.capitalize() if word[0].isupper() else new

    return SIDES.sub(other, caption)


def check_flip(spec: LoadSpec, table: SplitTable) -> None:
    """Raise RequestError when clips would be mirrored under words that tell left from right."""
    if not spec.flip:
        return
    for label in table.labels:
        if SIDES.search(label):
            raise RequestError(f"flip: the label {label!r} tells left from right and would be wrong; leave out flip")
    if spec.flip_captions:
        return
    for number in range(table.num_captions):
        if SIDES.search(table.caption(number)):
            raise RequestError(
                f"flip: the caption {table.caption(number)!r} tells left from right and would be wrong; leave out flip, "
                "or add flip_captions=True to exchange the words"
            )
