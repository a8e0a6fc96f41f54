"""Paths of the digits of mnist-motion: pure functions of (seed, split, clip number), in whole 64ths of a pixel.

Every random choice comes from PCG64 seeded with a list of integers, as raw 64-bit words: NumPy keeps both stable across
versions, which it does not promise for the methods of a Generator. A choice among ``n`` is the high half of a word, times n,
shifted down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Units per pixel: positions and speeds are whole numbers of units, so that every sum and reflection is exact.
UNITS = 64

DIRECTIONS = ("down", "up", "right", "left")
OPPOSITE = {"down": "up", "up": "down", "right": "left", "left": "right"}

Ints = NDArray[np.int64]

# The first number of the list that seeds each stream.
_PATHS, _ORDER, _IMAGES, _HOLDOUT = range(4)

# A leg takes at least this many frames; with fewer, the eye sees two positions and no movement.
MIN_LEG_FRAMES = 3
# A clip shows at least 5/4 legs: the first one, the turn, and a quarter of the way back.
_LEGS_NUMERATOR, _LEGS_DENOMINATOR = 5, 4
MIN_FRAMES = MIN_LEG_FRAMES * _LEGS_NUMERATOR // _LEGS_DENOMINATOR + 2


def random_words(seed: int, *stream: int, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return the first raw 64-bit words of the stream (seed, *stream)."""
    words: NDArray[np.uint64] = np.random.PCG64([seed, *stream]).random_raw(int(np.prod(shape))).reshape(shape)
    return words


def choose(words: NDArray[np.uint64], num_choices: Ints | int) -> Ints:
    """Turn each word into a number in 0 .. num_choices-1; ``num_choices`` is below 2**31."""
    return ((words >> np.uint64(32)) * np.asarray(num_choices, np.uint64) >> np.uint64(32)).astype(np.int64)


def shuffled(seed: int, *stream: int, size: int) -> Ints:
    """Return 0 .. size-1 in a random order drawn from the stream."""
    return np.argsort(random_words(seed, *stream, shape=(size,)), kind="stable").astype(np.int64)


def held_out(seed: int, count: int) -> list[tuple[int, int]]:
    """Return the first ``count`` (digit, direction) pairs of a seeded order that cycles through digits and directions.

    A few held-out pairs therefore fall on different digits and evenly on all directions, and up to 30 of them leave every
    digit and every direction in training.
    """
    digits, directions = shuffled(seed, _HOLDOUT, 0, size=10), shuffled(seed, _HOLDOUT, 1, size=4)
    return [(int(digits[i % 10]), int(directions[(i % 10 + i // 10) % 4])) for i in range(count)]


@dataclass(frozen=True)
class Meanings:
    """All meanings that the clips of a split can have; each run of ``len`` clips shows every one once, in its own order."""

    table: NDArray[np.int64]
    """(M, digits per clip, 2): digit and direction of each clause."""

    @classmethod
    def of(cls, num_digits: int, excluded: list[tuple[int, int]], *, only_excluded: bool) -> Meanings:
        """Return all meanings of clips with one or two digits: those without an excluded pair, or only those with one."""
        pairs = [(digit, direction) for digit in range(10) for direction in range(4)]
        combined = [(pair,) for pair in pairs] if num_digits == 1 else [(first, second) for first in pairs for second in pairs]
        kept = [clauses for clauses in combined if any(pair in excluded for pair in clauses) == only_excluded]
        return cls(np.array(kept, np.int64).reshape(-1, num_digits, 2))

    def __len__(self) -> int:
        return len(self.table)

    def per_digit(self) -> Ints:
        """Return the count of each digit in one run of all meanings: (10,)."""
        return np.bincount(self.table[..., 0].ravel(), minlength=10)


@dataclass(frozen=True)
class Paths:
    """The motion of N clips with D digits each: arrays (N, D); distances in 1/UNITS pixel."""

    digit: Ints
    direction: Ints
    """Index into DIRECTIONS."""
    occurrence: Ints
    """Number of earlier uses of this digit in the split."""
    start: Ints
    """Start of the first leg: the left or upper edge of the digit's square."""
    turn: Ints
    """End of the first leg."""
    across: Ints
    """The coordinate across the motion, in whole pixels."""
    speed: Ints
    """Distance per frame."""
    phase: Ints
    """Distance already travelled in frame 0: below ``speed``."""
    positions: Ints
    """Position along the motion in each frame: (N, D, T)."""
    conjunction: Ints
    """0 or 1, at random."""


@dataclass(frozen=True)
class MotionLimits:
    """The space and time in which a digit moves."""

    free_pixels: int
    """Pixels between the two extreme positions of the digit's square."""
    num_frames: int
    has_two_speeds: bool
    """Whether there are just two speeds, the slowest and the fastest that suit a leg of any length."""

    def speeds(self) -> tuple[int, int]:
        """Return the slowest and fastest speed that suit a leg of any length; slowest > fastest when none does."""
        return int(self.min_speed(self.free_pixels * UNITS)), self.shortest_leg() // MIN_LEG_FRAMES

    def shortest_leg(self) -> int:
        """Return the length of the shortest leg: a quarter of the free range."""
        return -(-self.free_pixels * UNITS // 4)

    def min_speed(self, leg: Ints | int) -> Ints:
        """Return the slowest speed at which a clip shows 5/4 of a leg of this length, elementwise."""
        return -(-_LEGS_NUMERATOR * np.asarray(leg, np.int64) // (_LEGS_DENOMINATOR * (self.num_frames - 1)))


def paths(meanings: Meanings, limits: MotionLimits, seed: int, split: int, first: int, last: int) -> Paths:
    """Return the paths of clips ``first`` .. ``last - 1`` of a split."""
    size = len(meanings)
    runs = range(first // size, (last - 1) // size + 1)
    num_digits = meanings.table.shape[1]
    tables = [meanings.table[shuffled(seed, _ORDER, split, run, size=size)] for run in runs]
    uses_per_run = meanings.per_digit()
    occurrences = [
        _earlier_uses(table[..., 0]) + run * uses_per_run[table[..., 0]] for run, table in zip(runs, tables, strict=True)
    ]
    words = [random_words(seed, _PATHS, split, run, shape=(size, num_digits, 6)) for run in runs]
    requested = slice(first - runs[0] * size, last - runs[0] * size)
    table, occurrence = np.concatenate(tables)[requested], np.concatenate(occurrences)[requested]
    return _random_paths(table, occurrence, np.concatenate(words)[requested], limits)


def _random_paths(meanings: Ints, occurrence: Ints, words: NDArray[np.uint64], limits: MotionLimits) -> Paths:
    digit, direction = meanings[..., 0], meanings[..., 1]
    longest, shortest = limits.free_pixels * UNITS, limits.shortest_leg()
    # Two points uniform on the range less the shortest leg, then that leg inserted between them.
    first, second = (choose(words[..., i], longest - shortest + 1) for i in (0, 1))
    low, high = np.minimum(first, second), np.maximum(first, second) + shortest
    leg = high - low
    is_forward = (direction == 0) | (direction == 2)
    speed = _random_speeds(leg, words[..., 2], limits)
    phase = choose(words[..., 3], speed)
    # A triangle wave: the distance travelled, folded at the turn and at the start.
    travelled = (phase[..., None] + speed[..., None] * np.arange(limits.num_frames)) % (2 * leg[..., None])
    along = np.minimum(travelled, 2 * leg[..., None] - travelled)
    start = np.where(is_forward, low, high)
    return Paths(
        digit=digit,
        direction=direction,
        occurrence=occurrence,
        start=start,
        turn=np.where(is_forward, high, low),
        across=choose(words[..., 4], limits.free_pixels + 1),
        speed=speed,
        phase=phase,
        positions=start[..., None] + np.where(is_forward, 1, -1)[..., None] * along,
        conjunction=choose(words[..., 5], 2),
    )


def _random_speeds(leg: Ints, words: NDArray[np.uint64], limits: MotionLimits) -> Ints:
    if limits.has_two_speeds:
        slowest, fastest = limits.speeds()
        return np.where(choose(words, 2) == 0, slowest, fastest)
    # A leg's duration is uniform, in 64ths of a frame, as in the report's own generator.
    min_duration = MIN_LEG_FRAMES * UNITS
    max_duration = (limits.num_frames - 1) * UNITS * _LEGS_DENOMINATOR // _LEGS_NUMERATOR
    duration = min_duration + choose(words, max_duration - min_duration + 1)
    speeds: Ints = np.maximum(leg * UNITS // duration, limits.min_speed(leg))
    return speeds


def _earlier_uses(digits: Ints) -> Ints:
    """Return, for each digit in reading order, the number of equal digits before it; same shape."""
    flat = digits.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(10))
    ranks = np.empty_like(flat)
    ranks[order] = np.arange(len(flat)) - starts[flat[order]]
    return ranks.reshape(digits.shape)


@functools.lru_cache(maxsize=64)
def image_order(seed: int, split: int, digit: int, turn: int, size: int) -> Ints:
    """Return the order in which the ``size`` images of a digit are used in round ``turn``."""
    return shuffled(seed, _IMAGES, split, digit, turn, size=size)
