"""Keys of clips: derived from the paths and spans of a table, or checked if the table has a key column."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable

from t2vdata.datasets.table import parsing
from t2vdata.errors import RawDataError, RequestError
from t2vdata.types import Clip

# Leaves space for a window's suffix.
_LONGEST_KEY = 66


class Keys:
    """Valid keys for clips: each depends only on its entry, except where two entries would share a key.

    The keys that the table itself gives are not derived for other clips.
    """

    def __init__(self, entries: Iterable[parsing.Entry] = ()) -> None:
        self._given = {entry.fields.key for entry in entries if entry.fields.key is not None}
        self._taken: dict[str, str] = {}

    def of(self, entry: parsing.Entry) -> str:
        if entry.fields.key is not None:
            return self._checked(entry.fields.key, entry)
        stem = os.path.splitext(entry.media.rsplit("://", 1)[-1])[0]
        span = "".join(f"-{seconds:g}" for seconds in entry.span if seconds is not None)
        # A URL may have no name at all.
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", stem + span) or "clip"
        if not entry.media or entry.reject_reason:
            plain = f"{plain[:50]}-{re.sub('[^0-9]', '', entry.source)[:12]}"
        key = plain
        is_taken = plain in self._taken or plain in self._given
        if plain != (stem + span).replace("/", "_").replace(".", "_") or len(plain) > _LONGEST_KEY or is_taken:
            digest = hashlib.sha256(f"{entry.media}\n{entry.span}\n{entry.source if is_taken else ''}".encode())
            key = f"{plain[-_LONGEST_KEY + 9 :]}-{digest.hexdigest()[:8]}"
        self._taken[key] = entry.source
        return key

    def _checked(self, key: str, entry: parsing.Entry) -> str:
        if key in self._taken:
            raise RawDataError(
                f"{self._taken[key]} and {entry.source} share the key {key!r}, but differ in path or span; give each its own"
            )
        try:
            Clip(key, ())
        except RequestError as error:
            raise RawDataError(f"{entry.source}: {error}; without the column, keys are derived from the paths") from None
        self._taken[key] = entry.source
        return key
