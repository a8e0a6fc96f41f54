"""Clean captions, split them into words, and join clauses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*")


def clean(text: str) -> str:
    """Return ``text`` in Unicode NFC, with each run of whitespace replaced by one space, and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def words(text: str) -> list[str]:
    """Return the words of a caption in lower case: letters and digits, with inner apostrophes and hyphens."""
    return _WORD.findall(text.lower())


def join_clauses(clauses: Sequence[str]) -> str:
    """Return clauses as one caption: ``a``, ``a and b``."""
    return " and ".join(clauses)
