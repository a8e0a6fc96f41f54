"""Handwritten digits that move back and forth, each with its sentence: ``the digit 9 is moving down and up``.

The toy set of a student's report on text-to-video GANs (section 4.1), made exact: 40 meanings in equal numbers, positions
that are known to the 64th of a pixel, and no handwriting shared between splits. The first direction named is the first leg.

How a position is drawn: along its way a digit stands at a multiple of 1/64 pixel; it is drawn at the nearest multiple of
1/``subpixel``, halves up; between two whole pixels k and k+1, at a fraction f, each pixel is (1-f) times the digit at k plus
f times the digit at k+1, rounded halves up. Across its way it stands on whole pixels. Two digits overlap by their maximum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from t2vdata.datasets.mnist_motion import digits, motion
from t2vdata.datasets.mnist_motion.motion import DIRECTIONS, OPPOSITE, UNITS, Ints
from t2vdata.errors import RequestError, unknown_name
from t2vdata.media import encode
from t2vdata.text.captions import join_clauses
from t2vdata.types import Clip, Frames

VERSION = 1
SPLITS = ("train", "val", "test", "compositional")
LICENCE = f"Clips: CC BY-SA 3.0, as the digits they are made of. {digits.LICENCE}."
CITATION = (
    "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits. "
    "After the moving-digit set in M. Martin: Text to video with generative adversarial networks (University of Adelaide)."
)
EXAMPLE = "--n 40000"

# `low` diversity: so many images of each digit, in every split.
LOW_IMAGES = 10
_AT_A_TIME = 500
# Less room than this, in pixels, and a leg of a quarter of it cannot be told from standing still.
MIN_FREE = 8
PACKAGED = ("mnist",)


@dataclass(frozen=True)
class Options:
    n: int = 40_000
    """Training clips."""
    val: int | None = None
    """Validation clips; n/10 unless told."""
    test: int | None = None
    """Test clips; n/10 unless told."""
    compositional: int | None = None
    """Clips of the held-out pairs; n/10 unless told, none without --holdout."""
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
    """`low`: ten images of each digit in a split, and two speeds; `high`: all images, and speeds at random."""
    subpixel: Literal[1, 2, 4, 8, 16] = 1
    """Places in a pixel at which a digit can be drawn; 1 keeps its pixels as they were written."""
    mnist: Path | None = None
    """A folder of IDX files to use instead of the MNIST in the package: EMNIST digits and the like."""

    def num_clips(self, split: str) -> int:
        """Return how many clips a split has."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        # A tenth of 1 to 9 clips is still one clip: a split that was not turned off is never empty.
        tenth = max(1, self.n // 10)
        wanted = {"train": self.n, "val": self.val, "test": self.test, "compositional": self.compositional}[split]
        if split == "compositional" and not self.holdout:
            return 0
        return tenth if wanted is None else wanted


def check(options: Options) -> None:
    """Raise RequestError for options that do not go together, naming the value and what would do."""
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
            "with more, a digit would not be seen in training"
        )
    if not 0 < options.fps < float("inf"):
        raise RequestError(f"--fps {options.fps:g}: expected a positive number of frames per second")
    if options.frames < motion.MIN_FRAMES:
        raise RequestError(f"--frames {options.frames}: expected {motion.MIN_FRAMES} or more, to show a leg and the turn")
    if not 4 <= options.digit_size <= 1024:
        raise RequestError(f"--digit-size {options.digit_size}: expected 4 to 1024 pixels")
    free = options.size - options.digit_size
    if free < MIN_FREE:
        raise RequestError(
            f"a digit of {options.digit_size} pixels has {max(free, 0)} pixels to move in a frame of {options.size}; expected "
            f"{MIN_FREE} or more: use --size {options.digit_size + MIN_FREE}, or a smaller --digit-size"
        )
    if options.frames * options.size**2 > 1 << 28:
        raise RequestError(f"{options.frames} frames of {options.size}x{options.size} are over 2**28 pixels in one clip")
    slow, fast = _room(options).speeds()
    if options.diversity == "low" and slow >= fast:
        raise RequestError(f"--diversity low needs two speeds that suit every leg; {options.frames} frames are too few: use 20")


def frame_size(options: Options) -> tuple[int, int]:
    """Return (height, width) of every frame."""
    return options.size, options.size


def missing(root: str | None, options: Options) -> str | None:
    """Return which file of ``--mnist`` is missing; nothing else is needed."""
    return digits.missing(options.mnist)


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the digits: the same for the packaged MNIST and for a folder with the official files."""
    return {"mnist": digits.sha256(options.mnist)}


def clips(root: str | None, split: str, options: Options, seed: int) -> MotionClips:
    """Return the clips of a split, made when they are asked for: clip i depends on (seed, split, i) and the options alone."""
    return MotionClips(options, seed, split, range(options.num_clips(split)))


@dataclass(frozen=True)
class MotionClips(Sequence[Clip]):
    """A run of clips of one split, as plain numbers: small to send, and a slice of it is another."""

    options: Options
    seed: int
    split: str
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> MotionClips: ...
    def __getitem__(self, index: int | slice) -> Clip | MotionClips:
        numbers = self.numbers[index]
        if isinstance(numbers, range):
            return replace(self, numbers=numbers)
        return next(self._make(numbers, numbers + 1))

    def __iter__(self) -> Iterator[Clip]:
        if self.numbers.step != 1:
            yield from (self[place] for place in range(len(self)))
            return
        # A few hundred at a time: the arithmetic is done on arrays, and what they hold stays in the processor's cache.
        for first in self.numbers[::_AT_A_TIME]:
            yield from self._make(first, min(first + _AT_A_TIME, self.numbers.stop))

    def _make(self, first: int, last: int) -> Iterator[Clip]:
        options, seed, code = self.options, self.seed, SPLITS.index(self.split)
        paths = motion.paths(_meanings(options, seed, self.split), _room(options), seed, code, first, last)
        mnist_split = _mnist_split(self.split)
        conjunctions = ("and", "to") if options.conjunction == "both" else (options.conjunction,) * 2
        # Whole arrays to plain numbers first: an item at a time would cost more than drawing the clip.
        digit, direction = paths.digit.tolist(), paths.direction.tolist()
        start, turn, speed, phase, positions = (
            (values / UNITS).tolist() for values in (paths.start, paths.turn, paths.speed, paths.phase, paths.positions)
        )
        across, conjunction = paths.across.tolist(), paths.conjunction.tolist()
        image = _images(_pools(options, seed, self.split), seed, code, paths.digit, paths.occurrence).tolist()
        for i in range(last - first):
            movers = [
                {
                    "digit": digit[i][j],
                    "mnist_split": mnist_split,
                    "mnist_index": image[i][j],
                    "axis": "vertical" if direction[i][j] < 2 else "horizontal",
                    "first_direction": DIRECTIONS[direction[i][j]],
                    "start": start[i][j],
                    "turn": turn[i][j],
                    "across": across[i][j],
                    "speed": speed[i][j],
                    "start_phase": phase[i][j],
                    "positions": positions[i][j],
                }
                for j in range(options.digits)
            ]
            word = conjunctions[conjunction[i][0]]
            texts = [_texts(digit[i][j], direction[i][j], word) for j in range(options.digits)]
            yield Clip(
                key=f"{self.split}-{first + i:08d}",
                captions=(join_clauses([clause for clause, _, _ in texts]),),
                group="+".join([f"mnist-{mnist_split}-{index}" for index in image[i]]),
                meta={
                    "label": " ".join([label for _, label, _ in texts]),
                    "meaning": ", ".join([meaning for _, _, meaning in texts]),
                    "digits": movers,
                },
            )


def render(clip: Clip, options: Options) -> Frames:
    """Return the frames (T, size, size, 1) that ``clip.meta`` describes; the meta of a written sample will do as well."""
    size, subpixel = options.size, options.subpixel
    # Between two pixels a digit is a column or row wider, which at the far edge is empty and outside the frame.
    side = size if subpixel == 1 else size + 1
    canvas = encode.canvas(options.frames, side, side, 1)
    for number, mover in enumerate(clip.meta["digits"]):
        image = digits.images(options.mnist, mover["mnist_split"])[mover["mnist_index"]]
        if options.digit_size != image.shape[0]:
            image = _resized(image, options.digit_size)
        _draw(canvas[..., 0], image, mover, subpixel, over=number > 0)
    return Frames(canvas if side == size else np.ascontiguousarray(canvas[:, :size, :size]), options.fps)


def _draw(canvas: NDArray[np.uint8], image: NDArray[np.uint8], mover: Any, subpixel: int, *, over: bool) -> None:
    """Draw a digit into each frame of (T, y, x), at its place."""
    # Exact: positions are multiples of 1/64; truncating x + 1/2 rounds halves up, as no position is negative.
    places = np.array([int(position * subpixel + 0.5) for position in mover["positions"]])
    vertical = mover["axis"] == "vertical"
    stamps = image
    if subpixel > 1:
        moved = _between(image.T, subpixel).transpose(0, 2, 1) if vertical else _between(image, subpixel)
        places, phases = np.divmod(places, subpixel)
        stamps = moved[phases]
    # All places that the digit can take in a frame, as overlapping windows on the canvas: one assignment draws all frames.
    num_frames, num_rows, num_columns = canvas.shape
    height, width = stamps.shape[-2:]
    frame_stride, row_stride, _ = canvas.strides
    if vertical:
        corner, num_places, step = mover["across"], num_rows - height + 1, row_stride
    else:
        corner, num_places, step = mover["across"] * row_stride, num_columns - width + 1, 1
    strides = (frame_stride, step, row_stride, 1)
    windows: NDArray[np.uint8] = np.ndarray((num_frames, num_places, height, width), np.uint8, canvas.data, corner, strides)
    frames = _counting(num_frames)
    windows[frames, places] = np.maximum(windows[frames, places], stamps) if over else stamps


@functools.cache
def _counting(count: int) -> Ints:
    return np.arange(count)


def _between(ink: NDArray[np.uint8], subpixel: int) -> NDArray[np.uint8]:
    """Return (subpixel, h, w + 1): ``ink`` moved right by 0, 1/subpixel, 2/subpixel ... of a pixel."""
    wide = np.zeros((ink.shape[0], ink.shape[1] + 2), np.uint16)
    wide[:, 1:-1] = ink
    here, before = wide[:, 1:], wide[:, :-1]
    steps = np.arange(subpixel, dtype=np.uint16)[:, None, None]
    moved = (here * (subpixel - steps) + before * steps + subpixel // 2) // np.uint16(subpixel)
    return moved.astype(np.uint8)


def _resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return a square image at another size: the mean of the area under each pixel, or bilinear where it grows.

    In integers throughout, with halves rounded up, so that it is the same on every machine.
    """
    weights = _resize_weights(len(image), size)
    total = int(weights[0].sum()) ** 2
    return ((weights @ image.astype(np.int64) @ weights.T * 2 + total) // (2 * total)).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _resize_weights(old: int, new: int) -> NDArray[np.int64]:
    """Return (new, old) weights whose rows have one sum."""
    if new < old:
        # Pixel j covers [j * old, (j + 1) * old) where each old pixel is `new` wide.
        starts, edges = np.arange(new)[:, None] * old, np.arange(old)[None] * new
        overlap: Ints = np.clip(np.minimum(starts + old, edges + new) - np.maximum(starts, edges), 0, None)
        return overlap
    # Pixel j's centre falls ((2j + 1) * old - new) / 2new behind the centre of the first old one.
    behind = np.clip((2 * np.arange(new) + 1) * old - new, 0, 2 * new * (old - 1))
    weights = np.zeros((new, old), np.int64)
    lower, rest = behind // (2 * new), behind % (2 * new)
    weights[np.arange(new), lower] = 2 * new - rest
    weights[np.arange(new), np.minimum(lower + 1, old - 1)] += rest
    return weights


@functools.cache
def _texts(digit: int, direction: int, word: str) -> tuple[str, str, str]:
    """Return the clause, label and meaning of a digit that moves."""
    first = DIRECTIONS[direction]
    return f"the digit {digit} is moving {first} {word} {OPPOSITE[first]}", str(digit), f"{digit} {first}"


def _room(options: Options) -> motion.Room:
    return motion.Room(options.size - options.digit_size, options.frames, options.diversity == "low")


@functools.lru_cache(maxsize=8)
def _meanings(options: Options, seed: int, split: str) -> motion.Meanings:
    excluded = motion.held_out(seed, options.holdout)
    return motion.Meanings.of(options.digits, excluded, only_excluded=split == "compositional")


def _mnist_split(split: str) -> digits.MnistSplit:
    return "train" if split == "train" else "test"


def _images(pools: list[Ints], seed: int, split: int, digit: Ints, occurrence: Ints) -> Ints:
    """Return the MNIST index of the image for each use of a digit in a split: all images once before any twice."""
    index = np.empty_like(digit)
    for value in np.unique(digit).tolist():
        pool = pools[value]
        own = digit == value
        turns, places = np.divmod(occurrence[own], len(pool))
        orders = {turn: motion.image_order(seed, split, value, turn, len(pool)) for turn in np.unique(turns).tolist()}
        index[own] = pool[[orders[turn][place] for turn, place in zip(turns.tolist(), places.tolist(), strict=True)]]
    return index


@functools.lru_cache(maxsize=8)
def _pools(options: Options, seed: int, split: str) -> list[Ints]:
    """Return, for each digit, the indices of its MNIST images that belong to a split.

    ``val`` has one half of the test images of each digit, ``test`` the other, or every second image of it where
    ``compositional`` has the rest: no two splits share an image.
    """
    labels = digits.labels(options.mnist, _mnist_split(split))
    pools = []
    for digit in range(10):
        own = np.flatnonzero(labels == digit)
        if split != "train":
            first, second = own[: len(own) // 2], own[len(own) // 2 :]
            halves = {"val": first, "test": second[::2] if options.holdout else second, "compositional": second[1::2]}
            own = halves[split]
        if options.diversity == "low":
            own = own[:LOW_IMAGES]
        if not len(own):
            raise RequestError(f"too few images of the digit {digit} for the split {split}; use --{split} 0 or another --mnist")
        pools.append(own)
    return pools
