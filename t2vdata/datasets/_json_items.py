"""Iterate over the items of a JSON file that does not fit in memory: read in pieces, one item at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from t2vdata.datasets import _text_files
from t2vdata.errors import RawDataError

_PIECE_CHARS = 1 << 20
# Maximum length of an item; a dialogue of VisDial has ten thousand characters.
_MAX_ITEM_CHARS = 1 << 24
_NUMBER_CHARS = re.compile(r"[-+.eE0-9]*")
_WHITESPACE = re.compile(r"[ \t\r\n]*")


def iter_items(path: Path, *, nested: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield (name, item) for every item of the arrays in the outermost object and in the objects directly below it, in order.

    A value that is not an array is an item too. Without ``nested``, objects in the outermost one are items themselves. Raises
    RawDataError, with the position, for invalid or truncated JSON.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _members(_Scanner(path, file), depth=0 if nested else 1)
    except UnicodeDecodeError as error:
        bad_byte = error.object[error.start]
        raise RawDataError(f"{path} is not UTF-8 (byte 0x{bad_byte:02x}: {error.reason}); download it again") from None
    except OSError as error:
        raise _text_files.unreadable(path, error) from None


def _members(scanner: _Scanner, depth: int) -> Iterator[tuple[str, Any]]:
    scanner.take("{")
    if scanner.peek() == "}":
        scanner.take("}")
        return
    while True:
        name = scanner.name()
        scanner.take(":")
        match scanner.peek():
            case "[":
                for item in _elements(scanner):
                    yield name, item
            case "{" if depth == 0:
                yield from _members(scanner, depth + 1)
            case _:
                yield name, scanner.value()
        if scanner.take(",}") == "}":
            return


def _elements(scanner: _Scanner) -> Iterator[Any]:
    scanner.take("[")
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        yield scanner.value()
        if scanner.take(",]") == "]":
            return


class _Scanner:
    """A read position in a JSON text, with the next piece of it in a buffer."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._decode = json.JSONDecoder().raw_decode
        self._buffer, self._position, self._num_chars_before = "", 0, 0

    def peek(self) -> str:
        """Return the next character that is not whitespace; empty at the end of the file."""
        while True:
            whitespace = _WHITESPACE.match(self._buffer, self._position)
            self._position = whitespace.end() if whitespace else self._position
            if self._position < len(self._buffer) or not self._read_more():
                return self._buffer[self._position : self._position + 1]

    def take(self, expected: str) -> str:
        """Return the next character, which must be one of those expected, and move past it."""
        character = self.peek()
        if not character or character not in expected:
            raise self._error(f"expected {' or '.join(expected)}, got {character or 'the end of the file'}")
        self._position += 1
        return character

    def name(self) -> str:
        """Return the next value, which must be a text, and move past it."""
        if (character := self.peek()) != '"':
            raise self._error(f"expected a name in quotes, got {character or 'the end of the file'}")
        return str(self.value())

    def value(self) -> Any:
        """Return the next value and move past it."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._buffer, self._position)
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._position > _MAX_ITEM_CHARS or not self._read_more():
                    raise self._error(error.msg) from None
                continue
            except (ValueError, RecursionError) as error:
                raise self._error(_text_files.json_problem(error)) from None
            # A number at the end of a piece may continue in the next; of "2." at its end, only 2 is decoded so far.
            number = _NUMBER_CHARS.match(self._buffer, end)
            if (number and number.end() < len(self._buffer)) or not self._read_more():
                self._position = end
                return value

    def _read_more(self) -> bool:
        piece = self._file.read(_PIECE_CHARS)
        self._num_chars_before += self._position
        self._buffer, self._position = self._buffer[self._position :] + piece, 0
        return bool(piece)

    def _error(self, problem: str) -> RawDataError:
        offset = self._num_chars_before + self._position
        return RawDataError(f"{self._path}, character {offset}: {problem}; the file is damaged or truncated, download it again")
