"""What batches hold, and what the machine may spend on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import RequestError, unknown_name
from t2vdata.loading.cache import CacheSpec
from t2vdata.processes import usable_cores

_CHOICES = {
    "start": ("random", "centre", "first"),
    "short": ("hold", "loop", "refuse"),
    "crop_at": ("centre", "random"),
    "captions": ("one", "first", "all"),
    "dtype": ("uint8", "float32"),
    "on_error": ("raise", "count"),
}


@dataclass(frozen=True)
class LoadSpec:
    """What a batch is made of. What is random is drawn from (seed, epoch, key)."""

    batch_size: int = 64
    """Clips of one batch on one rank."""
    num_frames: int | None = None
    """Frames of a clip; None takes all, where all clips have the same number."""
    stride: int = 1
    """Every so many frames of the clip."""
    fps: float | None = None
    """Frames per second to take instead of a stride: at each time the frame that is shown then."""
    start: Literal["random", "centre", "first"] = "random"
    """Where in the clip the frames begin."""
    short: Literal["hold", "loop", "refuse"] = "hold"
    """What a clip with fewer frames does: its last one stays, it begins again, or it is a bad sample."""
    resize: int | tuple[int, int] | None = None
    """Length of the shorter side in pixels, or exactly (height, width)."""
    crop: int | tuple[int, int] | None = None
    """Square, or (height, width), cut out after the resizing."""
    crop_at: Literal["centre", "random"] = "centre"
    flip: bool = False
    """Whether every second clip, by chance, is mirrored left to right. Refused where captions or labels speak of left and
    right, unless ``flip_captions``."""
    flip_captions: bool = False
    """Whether a mirrored clip's caption has its "left" and "right" exchanged."""
    channels: Literal[1, 3] | None = None
    """1 is grey, 3 is RGB; None is what the dataset has."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """float32 is (pixel / 255 - mean) / std: from -1 to 1 unless told otherwise."""
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    """One for all channels, or one for each, of pixels from 0 to 1."""
    captions: Literal["one", "first", "all"] = "one"
    """Of several captions of a clip: one by chance, the first, or all."""
    max_length: int | None = None
    """Most tokens of a caption, ``<start>`` and ``<end>`` among them."""
    shuffle: bool = True
    window: int | Literal["auto"] | None = "auto"
    """Shards that are shuffled together; None is all. ``auto`` is all for local data and 8 for remote."""
    drop_last: bool = False
    """Whether a last batch that is not full is left out."""
    pad: bool = False
    """Whether samples that do not divide among ranks are filled up with the first ones, instead of left out."""
    on_error: Literal["raise", "count"] = "raise"
    """Whether a bad sample raises, or is left out of its batch and counted in the loader's ``tally``."""
    max_failure_rate: float = 0.05
    """Share of counted samples from which on reading stops, judged after 100."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(f"LoadSpec.{name}", str(getattr(self, name)), allowed)
        for name in ("batch_size", "num_frames", "stride", "fps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RequestError(f"LoadSpec.{name} {value}: expected more than 0")
        if self.fps is not None and self.stride != 1:
            raise RequestError(f"LoadSpec has both stride {self.stride} and fps {self.fps:g}; give one of them")
        if self.num_frames is None and (self.fps is not None or self.stride != 1):
            raise RequestError("LoadSpec has a stride or fps without num_frames; say how many frames to take")
        if self.window not in (None, "auto") and (not isinstance(self.window, int) or self.window < 1):
            raise RequestError(f"LoadSpec.window {self.window!r}: expected 1 or more shards, None or 'auto'")
        if not 0 <= self.max_failure_rate <= 1:
            raise RequestError(f"LoadSpec.max_failure_rate {self.max_failure_rate}: expected 0 to 1")
        if self.channels not in (None, 1, 3):
            raise RequestError(f"LoadSpec.channels {self.channels}: expected 1 (grey), 3 (RGB) or None")
        for name in ("resize", "crop"):
            value = getattr(self, name)
            if value is not None and not all(isinstance(side, int) and side > 0 for side in pair(value)):
                raise RequestError(f"LoadSpec.{name} {value}: expected pixels, or (height, width)")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) not in (1, 3):
                raise RequestError(f"LoadSpec.{name} {value}: expected one number, or one for each of 3 channels")
        if any(not value > 0 for value in pair(self.std)):
            raise RequestError(f"LoadSpec.std {self.std}: expected more than 0")


def pair(value: float | tuple[float, ...]) -> tuple[float, ...]:
    """Return a value given once as two."""
    return value if isinstance(value, tuple) else (value, value)


@dataclass(frozen=True)
class Resources:
    """What the machine spends on loading; batches are the same whatever is chosen here."""

    workers: int | None = None
    """Threads or processes that decode; None is one for each core this process may use, at most 8, and one for small exact
    arrays, which measures faster."""
    processes: bool | None = None
    """Whether workers are processes. None is what measures faster: processes for video files, threads for all else."""
    prefetch: int = 4
    """Batches kept ready or in the making."""
    cache: CacheSpec | None = None
    """Where remote shards are kept; None is the user's cache folder."""
    device: str = "cpu"
    """Where batches are wanted: ``cpu``, ``cuda``, ``cuda:1``."""
    decode_there: bool | None = None
    """Whether videos are decoded on that device. None decides by what works and by size, and says so in the log."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RequestError(f"Resources.workers {self.workers}: expected 1 or more")
        if self.prefetch < 1:
            raise RequestError(f"Resources.prefetch {self.prefetch}: expected 1 or more")

    @property
    def num_workers(self) -> int:
        return self.workers or min(8, usable_cores())
