"""Turn a cell of an annotation file into what its column is for: a text, a list of texts, a name, or seconds.

Nothing is converted by ``str``: a number, a dict or ``b'a cat'`` is not a caption.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import reprlib
from dataclasses import dataclass
from typing import Any

from t2vdata.text import captions

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# 75:02.5 and 0:01:02.5
_CLOCK = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d+):([0-5]?\d(?:\.\d+)?)", re.ASCII)
# Integers up to here are exact as floats: a column of integers with gaps comes as floats.
_MAX_EXACT = 1 << 53
# Linux has no longer ones.
_MAX_PATH_BYTES = 4096


class CellError(Exception):
    """A cell that cannot be used. ``str`` is the problem, the same for every such cell: ``is not text``."""

    def __init__(self, problem: str, value: Any) -> None:
        super().__init__(problem)
        self.value = shown(value)
        """The cell as printable text, shortened."""


@dataclass(frozen=True)
class UnreadableCell:
    """What stands for a cell that its file format cannot represent, such as a date beyond the year 9999."""

    problem: str


def is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, or NaN in Parquet, which is unequal to itself."""
    return value is None or (isinstance(value, float | decimal.Decimal) and value != value)


def text(value: Any) -> str:
    """Return the text of a cell as it stands, bytes as UTF-8; an empty text for an empty cell. Raises CellError."""
    if type(value) is not str and is_missing(value):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise CellError("is not UTF-8", value) from None
    if not isinstance(value, str):
        raise CellError("is not text", value)
    if not captions.is_unicode(value):
        raise CellError("is not valid Unicode", value)
    return value


def texts(value: Any) -> list[str]:
    """Return the captions of a cell, cleaned, without empty ones: a text, or a list of texts. Raises CellError."""
    values = value if isinstance(value, list) else [value]
    try:
        return [caption for caption in (captions.clean(text(item)) for item in values) if caption]
    except CellError as error:
        problem = "is neither text nor a list of texts" if str(error) == "is not text" else str(error)
        raise CellError(problem, value) from None


def name(value: Any) -> str:
    """Return a label, group or key, cleaned: a text or an integer; an empty text for an empty cell. Raises CellError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT:
        return str(int(value))
    return captions.clean(text(value))


def path_and_bytes(value: Any) -> tuple[Any, bytes | None]:
    """Return (path, content) of a file as a table has it: a path, its bytes, or both as Hugging Face's datasets write them.

    Bytes that are a printable text are a path: some writers do not mark texts as such. Raises CellError.
    """
    if isinstance(value, bytes):
        return (value, None) if _is_path(value) else ("", value)
    if not isinstance(value, dict) or value.keys().isdisjoint(("bytes", "path")):
        return value, None
    content = value.get("bytes")
    if content is not None and not isinstance(content, bytes):
        raise CellError("has a file that is not bytes", content)
    return value.get("path"), content


def _is_path(value: bytes) -> bool:
    if len(value) > _MAX_PATH_BYTES:
        return False
    try:
        return value.decode().isprintable()
    except UnicodeDecodeError:
        return False


def seconds(value: Any) -> float | None:
    """Return a time in seconds: a number, a duration, a time of day, ``1.5`` or ``1:02.5``; None for an empty cell.

    Raises CellError for anything else, and for negative and infinite times.
    """
    if value is None or value == "":
        return None
    result = _seconds(value)
    if result is not None and not 0 <= result < math.inf:
        raise CellError("is no number of seconds", value)
    # Without the sign of minus zero.
    return None if result is None else abs(result)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str | bytes):
        return _seconds_of_text(text(value).strip(), value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise CellError("is no number of seconds", value)
    try:
        return None if is_missing(value) else float(value)
    except OverflowError:
        raise CellError("is no number of seconds", value) from None


def _seconds_of_text(content: str, value: Any) -> float | None:
    if not content:
        return None
    if _NUMBER.fullmatch(content):
        return float(content)
    clock = _CLOCK.fullmatch(content)
    if clock is None:
        raise CellError("is no number of seconds", value)
    hours, minutes, whole_seconds = clock.groups()
    return float(hours or 0) * 3600 + float(minutes) * 60 + float(whole_seconds)


def shown(value: Any) -> str:
    """Return a value as one short printable line, for messages."""
    if isinstance(value, UnreadableCell):
        return value.problem
    if isinstance(value, bytes):
        value = value[:60]
    return _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxlevel = 3
