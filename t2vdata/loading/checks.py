"""Compare samples with the SHA-256 that the index has of each, before they are decoded: damaged video decodes to wrong pixels.

The index hashes the contents of the three members of a sample, in their order in the shard, where they are adjacent: one read
gets them all.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DataError, ShardError
from t2vdata.format import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2vdata.format.dataset import Split
    from t2vdata.loading.index import SplitIndex
    from t2vdata.loading.reader import Reader
    from t2vdata.loading.transforms import Decision

# Offset and size of the JSON, offset and size of the caption, and the SHA-256: what a check needs besides the pixels.
_CHECK = struct.Struct("<4q32s")
CHECK_BYTES = _CHECK.size
NO_CHECK = bytes(CHECK_BYTES)
_COLUMNS = ("json_offset", "json_size", "txt_offset", "txt_size")


def needs_checks(split: Split, index: SplitIndex, requested: bool | None) -> bool:
    """Return whether the samples of a split are checked; ``requested`` is ``Resources.verify``."""
    if requested is not None:
        return requested
    match index.extensions:
        case ("npy.zst",):
            # Decoding verifies their checksum, except in datasets from before they had one.
            return not split.has_checksums
        case ("jpg",):
            # Sheets have a checksum, which decoding verifies; pictures may be files kept as they were.
            return bool((index.numbers["num_frames"] == 1).any())
        case _:
            return True


def read_checks(split: Split) -> NDArray[Any]:
    """Return what checking each sample of a split needs, (N,) of ``CHECK_BYTES`` bytes. Raises DataError."""
    import numpy as np

    dtype = np.dtype([*((name, "<i8") for name in _COLUMNS), ("sha256", "u1", (32,))])
    parts = []
    columns = (*_COLUMNS, "sha256")
    for part in tables.read_index_in_parts(split.path, columns, shards=split.shards, entries=split.entries):
        checks = np.zeros(len(part), dtype)
        for name in _COLUMNS:
            checks[name] = part[name].to_numpy()
        try:
            digests = bytes.fromhex("".join(part["sha256"].to_pylist()))
            checks["sha256"] = np.frombuffer(digests, np.uint8).reshape(len(part), 32)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"the index of {split.path} has a malformed SHA-256 ({error}); check with `t2vdata verify {split.path}`"
            ) from error
        parts.append(checks)
    return np.concatenate(parts).view(f"V{CHECK_BYTES}")


def read_pixels(reader: Reader, decision: Decision) -> memoryview | bytes:
    """Return the pixel member of a clip. Raises ShardError if its sample has another SHA-256 than the index says."""
    if decision.check == NO_CHECK:
        return reader.read(decision.shard, decision.offset, decision.size)
    json_offset, json_size, txt_offset, txt_size, expected = _CHECK.unpack(decision.check)
    members = sorted([(decision.offset, decision.size), (json_offset, json_size), (txt_offset, txt_size)])
    start, end = members[0][0], members[-1][0] + members[-1][1]
    sample = memoryview(reader.read(decision.shard, start, end - start))
    digest = hashlib.sha256()
    for offset, size in members:
        digest.update(sample[offset - start : offset - start + size])
    if digest.digest() != expected:
        raise ShardError(
            f"the sample has SHA-256 {digest.hexdigest()}, expected {expected.hex()}: its shard was damaged after it was "
            "written; restore it from a copy (of a cached shard: delete the cache)"
        )
    return sample[decision.offset - start : decision.offset - start + decision.size]
