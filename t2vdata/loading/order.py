"""The order of the samples of an epoch, and each rank's share: pure functions of plain numbers.

Nothing here may change: a run resumed next year must see the samples that it would have seen. So randomness comes from the raw
output of PCG64, which NumPy promises never to change, and not from ``permutation``, which may change.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from t2vdata.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLES, _SHARDS = 0, 1
_RANDOM_NUMBERS = struct.Struct("<5Q")


def epoch_order(shard_sizes: Sequence[int], seed: int, epoch: int, window: int | None = None) -> NDArray[np.int64]:
    """Return the numbers of all samples of a split in the order of one epoch: (N,) int64.

    Without ``window``, all samples are shuffled together. With it, shards are shuffled, then samples within each group of
    ``window`` shards: each shard is needed for a while and then never again, so remote data is read sequentially. Samples are
    numbered consecutively across shards; ``shard_sizes`` are the samples in each.
    """
    import numpy as np

    if seed < 0 or epoch < 0:
        raise RequestError(f"seed {seed}, epoch {epoch}: expected 0 or more")
    if window is None:
        return _shuffled(np.arange(sum(shard_sizes)), _raw(sum(shard_sizes), seed, epoch, _SAMPLES))
    if window < 1:
        raise RequestError(f"a window of {window} shards; expected 1 or more")
    starts = np.concatenate(([0], np.cumsum(shard_sizes)))
    shards = _shuffled(np.arange(len(shard_sizes)), _raw(len(shard_sizes), seed, epoch, _SHARDS))
    raw = _raw(int(starts[-1]), seed, epoch, _SAMPLES)
    parts, taken = [np.arange(0)], 0
    for first in range(0, len(shards), window):
        samples = np.concatenate([np.arange(starts[shard], starts[shard + 1]) for shard in shards[first : first + window]])
        parts.append(_shuffled(samples, raw[taken : taken + len(samples)]))
        taken += len(samples)
    return np.concatenate(parts)


def share(order: NDArray[np.int64], rank: int, world: int, *, pad: bool = False) -> NDArray[np.int64]:
    """Return the part of ``order`` that ``rank`` of ``world`` ranks reads: every ``world``-th sample, starting at ``rank``.

    All ranks get the same number of samples: a remainder is dropped at the end, or with ``pad`` filled up with the first
    samples. Side by side, the ranks follow ``order``, so a position in it means the same on any number of ranks. Raises
    RequestError if a rank would get nothing, as the others would wait for it.
    [0, 1, 2, 3, 4] on 2 ranks -> [0, 2] and [1, 3]; with pad -> [0, 2, 4] and [1, 3, 0].
    """
    import numpy as np

    if not 0 <= rank < world:
        raise RequestError(f"rank {rank} of {world} ranks; expected 0 to {world - 1}")
    if len(order) < world:
        hint = f"use at most {len(order)} ranks, or build more clips" if len(order) else "there is nothing to read"
        raise RequestError(f"{len(order)} samples cannot feed {world} ranks; {hint}")
    each = -(-len(order) // world) if pad else len(order) // world
    even = np.concatenate((order, order[: max(0, each * world - len(order))]))[: each * world]
    return even[rank::world]


def batches(
    order: NDArray[np.int64],
    position: int,
    rank: int,
    world: int,
    *,
    batch_size: int,
    drop_last: bool = False,
    pad: bool = False,
) -> list[NDArray[np.int64]]:
    """Return the samples of each batch of a rank, starting at a position in the epoch's order."""
    import numpy as np

    rest = order[position:]
    if len(rest) < world:
        # Only after a resume on more ranks than samples are left.
        rest = np.resize(rest, world) if pad and len(rest) else rest[:0]
    samples = share(rest, rank, world, pad=pad) if len(rest) else rest
    split = [samples[first : first + batch_size] for first in range(0, len(samples), batch_size)]
    return split[:-1] if split and drop_last and len(split[-1]) < batch_size else split


def num_batches(count: int, world: int, *, batch_size: int, drop_last: bool = False, pad: bool = False) -> int:
    """Return how many batches each rank gets of ``count`` samples: the length of ``batches``, without an order."""
    each = -(-count // world) if pad else count // world
    return each // batch_size if drop_last else -(-each // batch_size)


def samples_after(order: NDArray[np.int64], sample: int, world: int) -> Iterator[int]:
    """Yield the samples that a rank reads after ``sample``, around the end of the epoch, up to ``sample`` itself."""
    import numpy as np

    index = int(np.flatnonzero(order == sample)[0])
    for step in range(1, len(order) // math.gcd(len(order), world) + 1):
        yield int(order[(index + step * world) % len(order)])


class RandomNumbers(NamedTuple):
    """The random numbers of one sample in one epoch, each 64 bits; ``choose`` turns one into a choice."""

    start: int
    top: int
    left: int
    flip: int
    caption: int


def random_numbers(seed: int, epoch: int, key: str) -> RandomNumbers:
    """Return the random numbers of a sample: a hash of (seed, epoch, key), the same wherever and whenever it is read."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=_RANDOM_NUMBERS.size).digest()
    return RandomNumbers(*_RANDOM_NUMBERS.unpack(digest))


def choose(random_number: int, num_choices: int) -> int:
    """Return an integer from 0 to ``num_choices - 1``, each equally likely."""
    return random_number * num_choices >> 64


def _raw(count: int, seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    import numpy as np

    raw: NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence([seed, epoch, stream])).random_raw(count)
    return raw


def _shuffled(values: NDArray[np.int64], raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    import numpy as np

    return values[np.argsort(raw, kind="stable")]
