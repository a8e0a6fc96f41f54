"""Clean captions, split them into words, and join clauses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# How Python reads a byte that is not UTF-8 in a file name.
_RAW_BYTE = re.compile("[\udc80-\udcff]")
# Control and format characters, and blanks.
_INVISIBLE = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}-]\w+)*")


def clean(text: str) -> str:
    """Return ``text`` in Unicode NFC, with each run of whitespace replaced by one space, and none at the ends.

    A text that shows nothing, such as a zero-width space, becomes an empty one.
    """
    form = text if text.isascii() else unicodedata.normalize("NFC", text)
    cleaned = " ".join(form.split())
    return cleaned if _is_visible(cleaned) else ""


def _is_visible(text: str) -> bool:
    return text[:1].isalnum() or any(unicodedata.category(character) not in _INVISIBLE for character in text)


def lines(text: str) -> list[str]:
    """Return the lines of a text, which end at a newline or a carriage return with a newline, and nowhere else.

    ``str.splitlines`` would end a caption at form feeds and at U+0085 and U+2028 too.
    """
    return [line.removesuffix("\r") for line in text.split("\n")]


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: JSON's ``\\ud800`` is half of a character, and cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """Return a text that can be written as UTF-8: what cannot, such as a byte of a file name that is not UTF-8, is escaped."""
    named = _RAW_BYTE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
    return named.encode("utf-8", "backslashreplace").decode()


def words(text: str) -> list[str]:
    """Return the words of a caption in lower case: letters and digits, with inner apostrophes and hyphens."""
    return _WORD.findall(text.lower())


def join_clauses(clauses: Sequence[str]) -> str:
    """Return clauses as one caption: ``a``, ``a and b``."""
    return " and ".join(clauses)
