"""Perceptual hashes of clips, and the search for pairs of similar hashes, which are near-duplicates.

The hash is the usual one from the discrete cosine transform, of the frames at 1/6, 1/2 and 5/6 of a clip. Each frame becomes
grey and 32x32; its bits say which of the 64 lowest frequencies, without the mean, are above their median. Three times 64 bits,
48 hexadecimal digits.

Measured on 186 windows of 32 frames of real videos in 64x64, compared with the same windows re-encoded: as JPEG of quality 50,
99 % were within 10 bits; in 48x48, 95 % within 14; as H.264 of rate factor 30, 90 % within 13; a frame later, 95 % within 10.
Cropping 3 % off each side changes 20 bits or more for half of them, and mirrored clips are not found. None of 16,118 pairs of
windows of different videos was within 47 bits. A picture counts as three equal frames: all of 91 real ones were within 20 bits
of their copies as JPEG of quality 50 and in 48x48, and no two within 41.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from t2vdata.types import Frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_DISTANCE = 20
"""The hashes of near-duplicates differ in at most this many of 192 bits. ``near`` finds all pairs up to 23."""

_POSITIONS = (1 / 6, 1 / 2, 5 / 6)
_SIDE, _NUM_FREQUENCIES = 32, 8
# Scale of the cosines, which are integers: other processors round fractions differently, and in pictures that are symmetric or
# have bands, half of the frequencies are 0 except for rounding.
_COSINE_SCALE = 1 << 16
# Standard deviation in grey levels. The hash of a frame of a single colour would be noise.
_MIN_DEVIATION = 2.0
# Set bits of 64; a usual frame has 31. A gradient, a disc or a chequerboard has few frequencies and even fewer set bits, so all
# of them would look alike. A picture with an axis of symmetry has half of the frequencies and about fifteen set bits.
_MIN_SET_BITS = 10
_WORDS, _WORD_BITS = 12, 16
# Pairs compared in one block: a few hundred megabytes.
_BLOCK_PAIRS = 1 << 21


def perceptual_hash(frames: Frames) -> str | None:
    """Return 48 hexadecimal digits, the same on all machines, or None for a clip with too little content."""
    import numpy as np

    indices = [min(frames.num_frames - 1, int(frames.num_frames * position)) for position in _POSITIONS]
    pictures = [_small_grey(frames.data[index]) for index in indices]
    if max(float(picture.std()) for picture in pictures) < _MIN_DEVIATION:
        return None
    steps = np.arange(_SIDE)
    cosines = np.cos(np.pi * (2 * steps[None] + 1) * steps[:_NUM_FREQUENCIES, None] / (2 * _SIDE))
    waves = np.rint(cosines * _COSINE_SCALE).astype(np.int64)
    bits = []
    for picture in pictures:
        # Without the mean; the last bit is always 0.
        lowest = (waves @ picture @ waves.T).ravel()[1:]
        bits.append(np.append(lowest > np.median(lowest), False))
    if max(int(frame_bits.sum()) for frame_bits in bits) < _MIN_SET_BITS:
        return None
    return np.packbits(np.concatenate(bits)).tobytes().hex()


def near(hashes: list[str], *, max_distance: int = MAX_DISTANCE) -> Iterator[tuple[int, int, int]]:
    """Yield (index, later index, bits) of each pair of hashes that differ in at most ``max_distance`` bits, once per pair.

    Two hashes within 23 bits differ in at most one bit in at least one of their twelve words of 16 bits, so only such pairs
    are compared. Takes 0.7 s for 100,000 hashes, a minute for a million.
    """
    import numpy as np

    if not 0 <= max_distance < 2 * _WORDS:
        raise ValueError(f"max_distance {max_distance}: expected 0 to {2 * _WORDS - 1}")
    words = np.frombuffer(bytes.fromhex("".join(hashes)), ">u2").reshape(-1, _WORDS).astype(np.int64)
    longs = np.frombuffer(bytes.fromhex("".join(hashes)), ">u8").reshape(-1, 3).T.astype(np.uint64, order="C")
    for position in range(_WORDS):
        for firsts, seconds in _similar_pairs(words[:, position]):
            # Hardly any pair passes on the first third of its bits, so only then are the others fetched.
            candidates = np.flatnonzero(_num_bits(longs[0][firsts] ^ longs[0][seconds]) <= max_distance)
            firsts, seconds = firsts[candidates], seconds[candidates]
            bits = _num_bits(longs[:, firsts] ^ longs[:, seconds]).sum(axis=0)
            # Pairs that an earlier word has found are not repeated.
            earlier = words[firsts, :position] ^ words[seconds, :position]
            known = ((earlier & (earlier - 1)) == 0).any(axis=1)
            keep = (bits <= max_distance) & ~known
            for first, second, count in zip(firsts[keep], seconds[keep], bits[keep], strict=True):
                yield int(min(first, second)), int(max(first, second)), int(count)


def _small_grey(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return a frame as grey levels, 32x32."""
    import numpy as np
    from PIL import Image

    grey = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.int64)


def _similar_pairs(words: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield, in blocks, the pairs of indices whose words differ in at most one bit, each pair once."""
    import numpy as np

    order = np.argsort(words, kind="stable")
    ranked = words[order]
    starts = np.searchsorted(ranked, np.arange((1 << _WORD_BITS) + 1))
    for flip in (0, *(1 << bit for bit in range(_WORD_BITS))):
        partners = ranked ^ flip
        # Equal words: each index with those after it. Others: the smaller word with the greater.
        first = np.arange(len(ranked)) + 1 if flip == 0 else starts[partners]
        counts = starts[partners + 1] - first
        if flip:
            counts = np.where(partners > ranked, counts, 0)
        yield from _blocks(order, first, counts)


def _blocks(
    order: NDArray[np.int64], first: NDArray[np.int64], counts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of each index with ``counts`` others from ``first`` on, millions at a time."""
    import numpy as np

    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK_PAIRS, side="right")))
        block = counts[begin:end]
        rows = np.repeat(np.arange(begin, end), block)
        offsets = np.arange(int(block.sum())) - np.repeat(np.cumsum(block) - block, block)
        if len(rows):
            yield order[rows], order[first[rows] + offsets]
        begin = end


def _num_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of set bits in each value."""
    import numpy as np

    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values))
    # Before NumPy 2.
    octets = np.unpackbits(values.view(np.uint8)).reshape(*values.shape, 64)
    return np.asarray(octets.sum(axis=-1, dtype=np.uint8))
