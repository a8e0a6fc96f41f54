"""Escape the characters that a terminal obeys, or that hide what is written: ESC becomes ``\\x1b``.

Captions, keys, names and reasons come from data. Whatever prints them calls one of these first.
"""

from __future__ import annotations

import re

# Control characters except line feed and tab, marks and overrides of the writing direction, line and paragraph separators,
# and halves of surrogate pairs, which no encoding can write.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_UNSAFE_IN_LINE = re.compile(_UNSAFE.pattern[:-1] + "\\n\\t]")


def printable(text: object) -> str:
    """Return a text that a terminal shows without obeying it; line feeds and tabs stay."""
    return _UNSAFE.sub(_escape, str(text))


def one_line(text: object) -> str:
    """Return a text as one line that a terminal shows without obeying it."""
    return _UNSAFE_IN_LINE.sub(_escape, str(text))


def printable_json(text: str) -> str:
    """Return the text of a JSON value with JSON's own escapes, so that it still has the same value."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0], f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
