"""The clips of mnist-motion, computed on demand: captions, meanings, and the MNIST image behind each digit."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from t2vdata.datasets.mnist_motion import digits, motion
from t2vdata.datasets.mnist_motion.motion import DIRECTIONS, OPPOSITE, UNITS, Ints
from t2vdata.datasets.mnist_motion.options import SPLITS, MnistMotionOptions
from t2vdata.errors import RequestError
from t2vdata.text.captions import join_clauses
from t2vdata.types import Clip

# `low` diversity uses this many images of each digit in every split.
LOW_IMAGES = 10
# Clips computed together: the arithmetic is done on arrays, and this many of them stay in the processor's cache.
_BLOCK_CLIPS = 500


@dataclass(frozen=True)
class MotionClips(Sequence[Clip]):
    """A range of clips of one split, held as plain numbers: cheap to pickle and to slice.

    Clip i depends on (seed, split, i) and the options alone.
    """

    options: MnistMotionOptions
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
        return next(self._compute(numbers, numbers + 1))

    def __iter__(self) -> Iterator[Clip]:
        if self.numbers.step != 1:
            yield from (self[index] for index in range(len(self)))
            return
        for first in self.numbers[::_BLOCK_CLIPS]:
            yield from self._compute(first, min(first + _BLOCK_CLIPS, self.numbers.stop))

    def _compute(self, first: int, last: int) -> Iterator[Clip]:
        options, split_index = self.options, SPLITS.index(self.split)
        meanings = _meanings(options, self.seed, self.split)
        paths = motion.paths(meanings, options.motion_limits(), self.seed, split_index, first, last)
        pools = _image_pools(options, self.seed, self.split)
        images = _image_indices(pools, self.seed, split_index, paths.digit, paths.occurrence).tolist()
        mnist_split = _mnist_split(self.split)
        conjunctions = ("and", "to") if options.conjunction == "both" else (options.conjunction,) * 2
        # Convert whole arrays to plain numbers first: converting item by item would cost more than drawing the clip.
        digit, direction = paths.digit.tolist(), paths.direction.tolist()
        start, turn, speed, phase, positions = (
            (values / UNITS).tolist() for values in (paths.start, paths.turn, paths.speed, paths.phase, paths.positions)
        )
        across, conjunction = paths.across.tolist(), paths.conjunction.tolist()
        for i in range(last - first):
            movers = [
                {
                    "digit": digit[i][j],
                    "mnist_split": mnist_split,
                    "mnist_index": images[i][j],
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
            texts = [_digit_texts(digit[i][j], direction[i][j], word) for j in range(options.digits)]
            yield Clip(
                key=f"{self.split}-{first + i:08d}",
                captions=(join_clauses([clause for clause, _, _ in texts]),),
                group="+".join([f"mnist-{mnist_split}-{index}" for index in images[i]]),
                meta={
                    "label": " ".join([label for _, label, _ in texts]),
                    "meaning": ", ".join([meaning for _, _, meaning in texts]),
                    "digits": movers,
                },
            )


@functools.cache
def _digit_texts(digit: int, direction: int, word: str) -> tuple[str, str, str]:
    """Return the (clause, label, meaning) of a moving digit."""
    first = DIRECTIONS[direction]
    return f"the digit {digit} is moving {first} {word} {OPPOSITE[first]}", str(digit), f"{digit} {first}"


@functools.lru_cache(maxsize=8)
def _meanings(options: MnistMotionOptions, seed: int, split: str) -> motion.Meanings:
    excluded = motion.held_out(seed, options.holdout)
    return motion.Meanings.of(options.digits, excluded, only_excluded=split == "compositional")


def _mnist_split(split: str) -> digits.MnistSplit:
    return "train" if split == "train" else "test"


def _image_indices(pools: list[Ints], seed: int, split: int, digit: Ints, occurrence: Ints) -> Ints:
    """Return the MNIST index of the image for each use of a digit in a split: all images once before any twice."""
    indices = np.empty_like(digit)
    for value in np.unique(digit).tolist():
        pool = pools[value]
        is_value = digit == value
        rounds, ranks = np.divmod(occurrence[is_value], len(pool))
        orders = {turn: motion.image_order(seed, split, value, turn, len(pool)) for turn in np.unique(rounds).tolist()}
        indices[is_value] = pool[[orders[turn][rank] for turn, rank in zip(rounds.tolist(), ranks.tolist(), strict=True)]]
    return indices


@functools.lru_cache(maxsize=8)
def _image_pools(options: MnistMotionOptions, seed: int, split: str) -> list[Ints]:
    """Return, for each digit, the indices of its MNIST images that belong to a split.

    ``val`` has one half of the test images of each digit. ``test`` has the other half; with held-out pairs it shares that half
    with ``compositional``, every second image each. No two splits share an image.
    """
    labels = digits.labels(options.mnist, _mnist_split(split))
    pools = []
    for digit in range(10):
        pool = np.flatnonzero(labels == digit)
        if split != "train":
            first, second = pool[: len(pool) // 2], pool[len(pool) // 2 :]
            halves = {"val": first, "test": second[::2] if options.holdout else second, "compositional": second[1::2]}
            pool = halves[split]
        if options.diversity == "low":
            pool = pool[:LOW_IMAGES]
        if not len(pool):
            raise RequestError(f"too few images of the digit {digit} for the split {split}; use --{split} 0 or another --mnist")
        pools.append(pool)
    return pools
