"""Items of a JSON file that is too large to be held: read piece by piece, one item in memory at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from t2vdata.errors import RawDataError

_PIECE_CHARS = 1 << 20
# Of one item: a dialogue of VisDial has ten thousand.
_MAX_CHARS = 1 << 24
_OF_NUMBERS = re.compile(r"[-+.eE0-9]*")
_BLANKS = re.compile(r"[ \t\r\n]*")


def items(path: Path, *, nested: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield (name, item) for every item of the arrays of the outermost object and of the objects directly in it, in order.

    A value that is no array is an item too. Objects in the outermost one are items themselves unless ``nested``. Raises
    RawDataError, with the place, for what is not JSON or ends early.
    """
    with open(path, encoding="utf-8-sig") as file:
        text = _Text(path, file)
        try:
            yield from _members(text, depth=0 if nested else 1)
        except UnicodeDecodeError as error:
            raise RawDataError(f"{path} is not UTF-8 ({error.reason}); download it again") from None


def _members(text: _Text, depth: int) -> Iterator[tuple[str, Any]]:
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        name = str(text.value())
        text.take(":")
        match text.peek():
            case "[":
                for item in _elements(text):
                    yield name, item
            case "{" if depth == 0:
                yield from _members(text, depth + 1)
            case _:
                yield name, text.value()
        if text.take(",}") == "}":
            return


def _elements(text: _Text) -> Iterator[Any]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield text.value()
        if text.take(",]") == "]":
            return


class _Text:
    """The text of a file from a place on."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._decode = json.JSONDecoder().raw_decode
        self._buffer, self._at, self._num_chars_before = "", 0, 0

    def peek(self) -> str:
        """Return the next character that is no blank; nothing at the end of the file."""
        while True:
            found = _BLANKS.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer) or not self._more():
                return self._buffer[self._at : self._at + 1]

    def take(self, expected: str) -> str:
        """Return the next character, one of those expected, and go on behind it."""
        found = self.peek()
        if not found or found not in expected:
            raise self._wrong(f"expected {' or '.join(expected)}, got {found or 'the end of the file'}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Return the next value and go on behind it."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._at > _MAX_CHARS or not self._more():
                    raise self._wrong(error.msg) from None
                continue
            # A number at the end of a piece may go on in the next, and of "2." in it, 2 is the number so far.
            number = _OF_NUMBERS.match(self._buffer, end)
            if (number and number.end() < len(self._buffer)) or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        piece = self._file.read(_PIECE_CHARS)
        self._num_chars_before += self._at
        self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return bool(piece)

    def _wrong(self, what: str) -> RawDataError:
        place = self._num_chars_before + self._at
        return RawDataError(f"{self._path}, character {place}: {what}; the file is damaged or cut short, download it again")
