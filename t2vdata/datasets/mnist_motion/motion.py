"""Where the digits of mnist-motion go: pure functions of (seed, split, clip number), in whole 64ths of a pixel.

Every random choice comes from PCG64 seeded with a list of integers, as raw 64-bit words: NumPy keeps both the same in all
its versions, which it does not promise for the methods of a Generator. A choice among ``n`` is the high half of a word, times
n, shifted down.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Positions and speeds are whole numbers of these in a pixel, so that every sum and reflection is exact.
UNITS = 64

DIRECTIONS = ("down", "up", "right", "left")
OPPOSITE = {"down": "up", "up": "down", "right": "left", "left": "right"}

Ints = NDArray[np.int64]

# First number of each list that seeds a stream.
_PATHS, _ORDER, _IMAGES, _HOLDOUT = range(4)

# A leg takes at least this many frames, or the eye sees two places and no movement.
MIN_LEG_FRAMES = 3
# What a clip shows at least, in legs: the first one, the turn, and a quarter of the way back.
NUM, DEN = 5, 4
MIN_FRAMES = MIN_LEG_FRAMES * NUM // DEN + 2


def words(seed: int, *stream: int, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return the first raw 64-bit words of the stream that (seed, *stream) names."""
    drawn: NDArray[np.uint64] = np.random.PCG64([seed, *stream]).random_raw(int(np.prod(shape))).reshape(shape)
    return drawn


def choose(drawn: NDArray[np.uint64], among: Ints | int) -> Ints:
    """Return one of 0 .. among-1 for each word; ``among`` is below 2**31."""
    return ((drawn >> np.uint64(32)) * np.asarray(among, np.uint64) >> np.uint64(32)).astype(np.int64)


def shuffled(seed: int, *stream: int, size: int) -> Ints:
    """Return 0 .. size-1 in an order drawn from the stream."""
    return np.argsort(words(seed, *stream, shape=(size,)), kind="stable").astype(np.int64)


def held_out(seed: int, count: int) -> list[tuple[int, int]]:
    """Return the first ``count`` (digit, direction) pairs of a fixed order: ten digits in turn, their directions rotating.

    So a few held-out pairs fall on different digits and on all directions alike, and up to 30 of them leave every digit and
    every direction in training.
    """
    digits, directions = shuffled(seed, _HOLDOUT, 0, size=10), shuffled(seed, _HOLDOUT, 1, size=4)
    return [(int(digits[i % 10]), int(directions[(i % 10 + i // 10) % 4])) for i in range(count)]


@dataclass(frozen=True)
class Meanings:
    """What the clips of a split can mean: all of them in every run of ``len`` clips, in an order of its own."""

    table: NDArray[np.int64]
    """(M, digits per clip, 2): digit and direction of each clause."""

    @classmethod
    def of(cls, num_digits: int, excluded: list[tuple[int, int]], *, only_excluded: bool) -> Meanings:
        """Return all meanings of clips with one or two digits: those without an excluded pair, or those with one."""
        pairs = [(digit, direction) for digit in range(10) for direction in range(4)]
        combined = [(pair,) for pair in pairs] if num_digits == 1 else [(one, two) for one in pairs for two in pairs]
        kept = [clauses for clauses in combined if any(pair in excluded for pair in clauses) == only_excluded]
        return cls(np.array(kept, np.int64).reshape(-1, num_digits, 2))

    def __len__(self) -> int:
        return len(self.table)

    def per_digit(self) -> Ints:
        """Return how often each digit occurs in one run of all meanings: (10,)."""
        return np.bincount(self.table[..., 0].ravel(), minlength=10)


@dataclass(frozen=True)
class Paths:
    """The movement of N clips with D digits each: arrays (N, D), in UNITS unless said otherwise."""

    digit: Ints
    direction: Ints
    """Index into DIRECTIONS."""
    occurrence: Ints
    """How many times the split has used this digit before."""
    start: Ints
    """Where the first leg begins: the left or upper edge of the digit's square."""
    turn: Ints
    """Where it ends."""
    across: Ints
    """The other coordinate, in whole pixels."""
    speed: Ints
    """Per frame."""
    phase: Ints
    """How far the digit is on its first leg in frame 0: below ``speed``."""
    positions: Ints
    """(N, D, T)"""
    conjunction: Ints
    """0 or 1, drawn."""


@dataclass(frozen=True)
class Room:
    """The room that a digit has to move in."""

    free: int
    """Pixels between the two extreme places of the digit's square."""
    num_frames: int
    two_speeds: bool
    """Whether there are just two speeds, the least and the greatest that all legs can have."""

    def speeds(self) -> tuple[int, int]:
        """Return the slowest and fastest speed that suit a leg of any length here: slow above fast when none does."""
        longest = self.free * UNITS
        return -(-NUM * longest // (DEN * (self.num_frames - 1))), self.shortest() // MIN_LEG_FRAMES

    def shortest(self) -> int:
        """Return the shortest leg: a quarter of the free range."""
        return -(-self.free * UNITS // 4)


def paths(meanings: Meanings, room: Room, seed: int, split: int, first: int, last: int) -> Paths:
    """Return the paths of clips ``first`` .. ``last - 1`` of a split."""
    size = len(meanings)
    runs = range(first // size, (last - 1) // size + 1)
    num_digits = meanings.table.shape[1]
    order = [shuffled(seed, _ORDER, split, run, size=size) for run in runs]
    table = np.concatenate([meanings.table[one] for one in order])
    occurrence = np.concatenate([_ranks(meanings.table[one][..., 0]) + run * meanings.per_digit()[meanings.table[one][..., 0]]
                                 for run, one in zip(runs, order, strict=True)])  # fmt: skip
    drawn = np.concatenate([words(seed, _PATHS, split, run, shape=(size, num_digits, 6)) for run in runs])
    wanted = slice(first - runs[0] * size, last - runs[0] * size)
    return _draw(table[wanted], occurrence[wanted], drawn[wanted], room)


def _draw(table: Ints, occurrence: Ints, drawn: NDArray[np.uint64], room: Room) -> Paths:
    digit, direction = table[..., 0], table[..., 1]
    longest, shortest = room.free * UNITS, room.shortest()
    # Two points uniform on what is left without the shortest leg, then that leg put between them.
    one, other = (choose(drawn[..., i], longest - shortest + 1) for i in (0, 1))
    low, high = np.minimum(one, other), np.maximum(one, other) + shortest
    leg = high - low
    forward = (direction == 0) | (direction == 2)
    if room.two_speeds:
        slow, fast = room.speeds()
        speed = np.where(choose(drawn[..., 2], 2) == 0, slow, fast)
    else:
        # A leg's duration is uniform, in 64ths of a frame, as in the report's own generator.
        least, most = MIN_LEG_FRAMES * UNITS, (room.num_frames - 1) * UNITS * DEN // NUM
        duration = least + choose(drawn[..., 2], most - least + 1)
        speed = np.maximum(leg * UNITS // duration, -(-NUM * leg // (DEN * (room.num_frames - 1))))
    phase = choose(drawn[..., 3], speed)
    # A triangle wave: the distance travelled, folded at the turn and at the start.
    travelled = (phase[..., None] + speed[..., None] * np.arange(room.num_frames)) % (2 * leg[..., None])
    along = np.minimum(travelled, 2 * leg[..., None] - travelled)
    start = np.where(forward, low, high)
    positions = start[..., None] + np.where(forward, 1, -1)[..., None] * along
    return Paths(
        digit=digit,
        direction=direction,
        occurrence=occurrence,
        start=start,
        turn=np.where(forward, high, low),
        across=choose(drawn[..., 4], room.free + 1),
        speed=speed,
        phase=phase,
        positions=positions,
        conjunction=choose(drawn[..., 5], 2),
    )


def _ranks(values: Ints) -> Ints:
    """Return, for each value in reading order, how many equal ones come before it; same shape."""
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(10))
    ranks = np.empty_like(flat)
    ranks[order] = np.arange(len(flat)) - starts[flat[order]]
    return ranks.reshape(values.shape)


@functools.lru_cache(maxsize=64)
def image_order(seed: int, split: int, digit: int, turn: int, size: int) -> Ints:
    """Return the order in which the ``size`` images of a digit are used the ``turn``-th time round."""
    return shuffled(seed, _IMAGES, split, digit, turn, size=size)
