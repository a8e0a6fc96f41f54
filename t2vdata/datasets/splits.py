"""Splits: their names in annotations, and assignment by a hash of the group, in which adding a clip moves no other clip."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from t2vdata.errors import RequestError

# {how annotations call a split: its name}
SPLIT_NAMES = {
    "train": "train", "val": "val", "test": "test", "training": "train", "validation": "val", "validate": "val", "valid": "val",
    "dev": "val", "testing": "test",
}  # fmt: skip


def split_of(group: str, seed: int, shares: Mapping[str, float]) -> str:
    """Return the split of a group: each name in ``shares`` gets about that share of groups, ``train`` the rest.

    Depends on the group and the seed alone. Raises RequestError for negative shares or a sum above 1.
    """
    if min(shares.values(), default=0) < 0 or sum(shares.values()) > 1:
        raise RequestError(f"shares {', '.join(f'{name} {share:g}' for name, share in shares.items())}: expected 0 to 1 in all")
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in shares.items():
        if position < share:
            return name
        position -= share
    return "train"
