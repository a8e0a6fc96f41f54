"""In which order the samples of an epoch come, and who gets which: pure functions of plain numbers.

Nothing here may change: a run that is resumed next year must see what it would have seen. So the randomness is the raw output
of PCG64, which NumPy promises to keep, and not its ``permutation``, which it does not.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from t2vdata.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLES, _SHARDS = 0, 1
_DRAWS = struct.Struct("<5Q")


def epoch_order(shard_sizes: Sequence[int], seed: int, epoch: int, window: int | None = None) -> NDArray[np.int64]:
    """Return the numbers of all samples of a split in the order of one epoch: (N,) int64.

    Without ``window`` any sample may follow any other. With it, shards are shuffled, and samples among ``window`` shards at a
    time: each shard is needed for a while and then no more, so that remote data is read in sequence. Samples are numbered
    through the shards; ``shard_sizes`` are samples in each.
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
    """Return the part of ``order`` that ``rank`` of ``world`` ranks reads: every ``world``-th sample from its own on.

    All ranks get the same number. Samples that do not divide are left out at the end, or with ``pad`` the first ones come
    again. Read side by side, the ranks follow ``order``: a position in it means the same on any number of ranks. Raises
    RequestError where a rank would get nothing, for the others would wait for it.
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
    """Return the samples of each batch of a rank, from a position in the epoch's order on."""
    import numpy as np

    left = order[position:]
    if len(left) < world:
        # Only after a resume on more ranks than there are samples left.
        left = np.resize(left, world) if pad and len(left) else left[:0]
    own = share(left, rank, world, pad=pad) if len(left) else left
    found = [own[first : first + batch_size] for first in range(0, len(own), batch_size)]
    return found[:-1] if found and drop_last and len(found[-1]) < batch_size else found


class Draws(NamedTuple):
    """The random numbers of one sample in one epoch, each 64 bits; ``below`` makes a choice of one."""

    start: int
    top: int
    left: int
    flip: int
    caption: int


def draws(seed: int, epoch: int, key: str) -> Draws:
    """Return what is random about a sample: a hash of (seed, epoch, key), the same wherever and whenever it is read."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=_DRAWS.size).digest()
    return Draws(*_DRAWS.unpack(digest))


def below(draw: int, number: int) -> int:
    """Return a whole number from 0 to ``number - 1``, each equally likely."""
    return draw * number >> 64


def _raw(count: int, seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    import numpy as np

    raw: NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence([seed, epoch, stream])).random_raw(count)
    return raw


def _shuffled(values: NDArray[np.int64], raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    import numpy as np

    return values[np.argsort(raw, kind="stable")]
