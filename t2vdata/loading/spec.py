"""What batches contain (``LoadSpec``), and the resources used to load them (``Resources``, ``CacheSpec``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from t2vdata.errors import RequestError, unknown_name
from t2vdata.loading.plain_numbers import as_tuple, as_whole_number, real_number, whole_number
from t2vdata.processes import usable_cores

_CACHE_MODES = ("shards", "ranges")
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
    """What a batch contains. Random choices depend only on (seed, epoch, key)."""

    batch_size: int = 64
    """Clips per batch and rank."""
    num_frames: int | None = None
    """Frames per clip; None takes all frames, which needs clips of equal length."""
    stride: int = 1
    """Take every ``stride``-th frame."""
    fps: float | None = None
    """Frames per second to sample at, instead of a stride: at each time, the frame shown then."""
    start: Literal["random", "centre", "first"] = "random"
    """Where in the clip the frames start."""
    short: Literal["hold", "loop", "refuse"] = "hold"
    """What happens to a clip with too few frames: hold its last frame, loop it, or refuse it as a bad sample.
    For 5 frames of a clip of 3: hold takes [0, 1, 2, 2, 2], loop takes [0, 1, 2, 0, 1]."""
    resize: int | tuple[int, int] | None = None
    """Shorter side in pixels, or exactly (height, width)."""
    crop: int | tuple[int, int] | None = None
    """Side of a square, or (height, width), cropped after resizing."""
    crop_at: Literal["centre", "random"] = "centre"
    flip: bool = False
    """Whether to mirror clips left to right with probability 1/2. Refused if captions or labels mention left or right, unless
    ``flip_captions``."""
    flip_captions: bool = False
    """Whether to swap "left" and "right" in the captions of mirrored clips."""
    channels: Literal[1, 3] | None = None
    """1 is grey, 3 is RGB; None keeps those of the dataset."""
    dtype: Literal["uint8", "float32"] = "uint8"
    """float32 is (pixel / 255 - mean) / std: from -1 to 1 by default."""
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    """One value for all channels or one for each channel of the clips, for pixels from 0 to 1."""
    captions: Literal["one", "first", "all"] = "one"
    """Which captions of a clip to use: a random one, the first, or all."""
    max_length: int | None = None
    """Maximum tokens per caption, including ``<start>`` and ``<end>``."""
    shuffle: bool = True
    window: int | Literal["auto"] | None = "auto"
    """Shards shuffled together; None shuffles all. ``auto`` is None for local data and 8 for remote."""
    drop_last: bool = False
    """Whether every batch has ``batch_size`` clips: an incomplete last batch is dropped, and with ``on_error="count"`` other
    clips take the positions of bad samples."""
    pad: bool = False
    """Whether to repeat the first samples so that all samples divide evenly among ranks, instead of dropping the rest."""
    on_error: Literal["raise", "count"] = "raise"
    """Whether a bad sample raises, or is dropped from its batch and counted in the loader's ``tally``. A batch is never empty:
    if all its samples are bad, the next sound clip of the rank takes their position."""
    max_failure_rate: float = 0.05
    """With ``on_error="count"``: the share of bad samples above which loading stops, checked from 100 samples on."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(f"LoadSpec.{name}", str(getattr(self, name)), allowed)
        self._make_plain()
        for name in ("fps", "std"):
            if any(not value > 0 for value in _values(getattr(self, name))):
                raise RequestError(f"LoadSpec.{name} {getattr(self, name)}: expected more than 0")
        if self.fps is not None and self.stride != 1:
            raise RequestError(f"LoadSpec has both stride {self.stride} and fps {self.fps:g}; give one of them")
        if self.num_frames is None and (self.fps is not None or self.stride != 1):
            raise RequestError("LoadSpec has a stride or fps without num_frames; set num_frames too")
        if not 0 <= self.max_failure_rate <= 1:
            raise RequestError(f"LoadSpec.max_failure_rate {self.max_failure_rate}: expected 0 to 1")
        if self.channels not in (None, 1, 3):
            raise RequestError(f"LoadSpec.channels {self.channels}: expected 1 (grey), 3 (RGB) or None")

    def _make_plain(self) -> None:
        """Replace numbers of NumPy and lists of YAML with plain numbers and tuples. Raises RequestError for anything else."""
        for name in ("batch_size", "num_frames", "stride", "channels", "max_length"):
            if getattr(self, name) is not None:
                _set(self, name, whole_number(f"LoadSpec.{name}", getattr(self, name), minimum=1))
        for name in ("flip", "flip_captions", "shuffle", "drop_last", "pad"):
            if getattr(self, name) not in (True, False):
                raise RequestError(f"LoadSpec.{name} {getattr(self, name)!r}: expected True or False")
            _set(self, name, bool(getattr(self, name)))
        if self.fps is not None:
            _set(self, "fps", real_number("LoadSpec.fps", self.fps))
        _set(self, "max_failure_rate", real_number("LoadSpec.max_failure_rate", self.max_failure_rate))
        if self.window not in (None, "auto"):
            window = as_whole_number(self.window)
            if window is None or window < 1:
                raise RequestError(f"LoadSpec.window {self.window!r}: expected 1 or more shards, None or 'auto'")
            _set(self, "window", window)
        for name in ("resize", "crop"):
            if getattr(self, name) is not None:
                _set(self, name, _sides(f"LoadSpec.{name}", getattr(self, name)))
        for name in ("mean", "std"):
            _set(self, name, _by_channel(f"LoadSpec.{name}", getattr(self, name)))


def pair(value: float | tuple[float, ...]) -> tuple[float, ...]:
    """Return (value, value) for a single value."""
    return value if isinstance(value, tuple) else (value, value)


def _set(spec: Any, name: str, value: object) -> None:
    # The only way to set a field of a frozen dataclass.
    object.__setattr__(spec, name, value)


def _values(value: float | tuple[float, ...] | None) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _sides(name: str, value: Any) -> int | tuple[int, int]:
    sides = tuple(map(as_whole_number, pair(as_tuple(value))))
    if len(sides) != 2 or any(side is None or side < 1 for side in sides):
        raise RequestError(f"{name} {value}: expected pixels, or (height, width)")
    height, width = (side or 0 for side in sides)
    return (height, width) if isinstance(as_tuple(value), tuple) else height


def _by_channel(name: str, value: Any) -> float | tuple[float, ...]:
    plain = as_tuple(value)
    if not isinstance(plain, tuple):
        return real_number(name, plain)
    if len(plain) not in (1, 3):
        raise RequestError(f"{name} {value}: expected one number, or one for each of 3 channels")
    return tuple(real_number(name, channel) for channel in plain)


@dataclass(frozen=True)
class CacheSpec:
    """How shards of a remote dataset are downloaded and cached."""

    folder: str | None = None
    """Where shards are cached; None is $XDG_CACHE_HOME/t2vdata, or ~/.cache/t2vdata."""
    max_bytes: int = 50 * 10**9
    """Total size of the cached shards; the least recently used are evicted first."""
    mode: str = "shards"
    """``shards`` downloads whole shards into the folder; ``ranges`` caches nothing and requests each read separately."""
    fetch_ahead: int = 2
    """How many shards are downloaded in the background at once."""
    retries: int = 5
    """How often in a row to resume a broken download without progress, for 150 seconds at most."""
    back_off_seconds: float = 0.5
    """Delay before the first retry; it doubles with each retry, up to 30 seconds."""
    timeout_seconds: float = 30.0
    """How long a server may send nothing, or less than 1000 bytes per second, before the connection counts as broken."""

    def __post_init__(self) -> None:
        if self.folder is not None:
            # The working directory may change before the first shard is read, and differ in a worker process.
            object.__setattr__(self, "folder", os.path.abspath(self.folder))
        if self.mode not in _CACHE_MODES:
            raise RequestError(f"mode of the cache: expected 'shards' or 'ranges', got {self.mode!r}")
        for name, minimum in (("max_bytes", 1), ("fetch_ahead", 0), ("retries", 0)):
            value = as_whole_number(getattr(self, name))
            if value is None or value < minimum:
                raise RequestError(
                    f"{name} of the cache: expected a whole number of at least {minimum}, got {getattr(self, name)!r}"
                )
            _set(self, name, value)
        for name in ("back_off_seconds", "timeout_seconds"):
            _set(self, name, real_number(f"{name} of the cache", getattr(self, name)))
        if not self.back_off_seconds >= 0:
            raise RequestError(f"back_off_seconds of the cache: expected 0 or more, got {self.back_off_seconds!r}")
        if not self.timeout_seconds > 0:
            raise RequestError(f"timeout_seconds of the cache: expected more than 0, got {self.timeout_seconds!r}")


@dataclass(frozen=True)
class Resources:
    """What the machine spends on loading. Nothing here changes the batches."""

    workers: int | None = None
    """Decoding threads or processes. Default: one per usable core, at most 8, but a single one for small lossless arrays, where
    that is faster."""
    processes: bool | None = None
    """Whether workers are processes. Default, the faster choice: processes for video files, threads for everything else."""
    prefetch: int = 4
    """Batches kept ready or in progress."""
    cache: CacheSpec | None = None
    """How remote shards are cached; None uses the defaults of ``CacheSpec``."""
    verify: bool | None = None
    """Whether each sample is compared with the SHA-256 in the index when it is read; a difference makes it a bad sample.
    Default: unless decoding verifies a checksum anyway, as for the exact arrays of ``--encoding lossless``."""
    device: str = "cpu"
    """Where batches end up: ``cpu``, ``cuda``, ``cuda:1``."""
    decode_on_device: bool | None = None
    """Whether to decode videos on that device. None decides by availability and clip size, and logs the decision."""

    def __post_init__(self) -> None:
        if self.workers is not None:
            _set(self, "workers", whole_number("Resources.workers", self.workers, minimum=1))
        _set(self, "device", str(self.device))
        _set(self, "prefetch", whole_number("Resources.prefetch", self.prefetch, minimum=1))

    @property
    def num_workers(self) -> int:
        return self.workers or min(8, usable_cores())
