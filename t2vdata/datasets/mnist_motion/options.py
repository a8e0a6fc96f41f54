"""Options of mnist-motion, and which combinations of them are valid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from t2vdata.datasets.mnist_motion.motion import MIN_FRAMES, MotionLimits
from t2vdata.errors import RequestError, unknown_name

SPLITS = ("train", "val", "test", "compositional")
# With less free space than this, in pixels, a leg of a quarter of it is indistinguishable from standing still.
MIN_FREE_PIXELS = 8


@dataclass(frozen=True)
class MnistMotionOptions:
    n: int = 40_000
    """Training clips."""
    val: int | None = None
    """Validation clips; default: n/10."""
    test: int | None = None
    """Test clips; default: n/10."""
    compositional: int | None = None
    """Clips of the held-out pairs; default: n/10 with --holdout, else none."""
    frames: int = 32
    """Frames in a clip."""
    fps: float = 30.0
    """Frames per second."""
    size: int = 64
    """Height and width of a frame, in pixels."""
    digit_size: int = 28
    """Height and width of a digit, in pixels."""
    digits: Literal[1, 2] = 1
    """Digits in a clip, each with its own clause in the caption."""
    conjunction: Literal["and", "to", "both"] = "and"
    """The word between the directions: `down and up`, `down to up`, or either at random."""
    holdout: int = 0
    """Pairs of digit and direction kept out of train, val and test, and put into the split `compositional`."""
    diversity: Literal["low", "high"] = "high"
    """`low`: ten images of each digit in a split, and two speeds; `high`: all images, and random speeds."""
    subpixel: Literal[1, 2, 4, 8, 16] = 1
    """Positions within a pixel at which a digit can be drawn; 1 keeps the original pixel values."""
    mnist: Path | None = None
    """A folder of IDX files to use instead of the packaged MNIST, such as EMNIST digits."""

    def num_clips(self, split: str) -> int:
        """Return the number of clips in a split."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        # At least one clip: a split that was not turned off is never empty.
        tenth = max(1, self.n // 10)
        requested = {"train": self.n, "val": self.val, "test": self.test, "compositional": self.compositional}[split]
        if split == "compositional" and not self.holdout:
            return 0
        return tenth if requested is None else requested

    def motion_limits(self) -> MotionLimits:
        """Return the space and time in which a digit moves."""
        return MotionLimits(self.size - self.digit_size, self.frames, self.diversity == "low")


def check(options: MnistMotionOptions) -> None:
    """Raise RequestError for options that do not go together, with the value and what would work."""
    if options.n < 1:
        raise RequestError(f"--n {options.n}: expected 1 training clip or more")
    for name in ("val", "test", "compositional"):
        if (getattr(options, name) or 0) < 0:
            raise RequestError(f"--{name} {getattr(options, name)}: expected 0 clips or more")
    if options.compositional and not options.holdout:
        raise RequestError(f"--compositional {options.compositional} needs held-out pairs; add --holdout 4")
    if not 0 <= options.holdout <= 30:
        raise RequestError(
            f"--holdout {options.holdout}: expected 0 to 30 of the 40 pairs of digit and direction; "
            "with more, some digit would never be seen in training"
        )
    if not 0 < options.fps < float("inf"):
        raise RequestError(f"--fps {options.fps:g}: expected a positive number of frames per second")
    _check_motion(options)


def _check_motion(options: MnistMotionOptions) -> None:
    if options.frames < MIN_FRAMES:
        raise RequestError(f"--frames {options.frames}: expected {MIN_FRAMES} or more, to show a leg and the turn")
    if not 4 <= options.digit_size <= 1024:
        raise RequestError(f"--digit-size {options.digit_size}: expected 4 to 1024 pixels")
    free_pixels = options.size - options.digit_size
    if free_pixels < MIN_FREE_PIXELS:
        raise RequestError(
            f"a digit of {options.digit_size} pixels has {max(free_pixels, 0)} pixels to move in a frame of {options.size}; "
            f"expected {MIN_FREE_PIXELS} or more: use --size {options.digit_size + MIN_FREE_PIXELS}, or a smaller --digit-size"
        )
    if options.frames * options.size**2 > 1 << 28:
        raise RequestError(f"{options.frames} frames of {options.size}x{options.size} are over 2**28 pixels in one clip")
    slowest, fastest = options.motion_limits().speeds()
    if options.diversity == "low" and slowest >= fastest:
        raise RequestError(f"--diversity low needs two speeds that suit every leg; {options.frames} frames are too few: use 20")
