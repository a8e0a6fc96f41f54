"""Which split a clip belongs to, by its group alone: a clip that is added moves no other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from t2vdata.errors import RequestError


def split_of(group: str, seed: int, shares: Mapping[str, float]) -> str:
    """Return the split of a group: one of ``shares`` in about its share of groups, else ``train``.

    Raises RequestError for shares below 0 or above 1 together.
    """
    if min(shares.values(), default=0) < 0 or sum(shares.values()) > 1:
        raise RequestError(f"shares {', '.join(f'{name} {share:g}' for name, share in shares.items())}: expected 0 to 1 in all")
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in shares.items():
        if place < share:
            return name
        place -= share
    return "train"
