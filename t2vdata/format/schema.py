"""Check JSON values of unknown origin against what a reader expects, field by field.

>>> shard = record({"name": file_name, "samples": whole_number(at_least=1)})
>>> shard({"name": "a.tar", "samples": "12"}, "shards[3]")
Traceback (most recent call last):
t2vdata.format.schema.SchemaError: shards[3].samples is "12"; expected a whole number of at least 1

A check takes a value and the name of its field, and raises SchemaError, whose message is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]

# Integers beyond this do not fit the tables or NumPy.
MAX_WHOLE = (1 << 63) - 1
_MAX_SHOWN = 60
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Characters that begin another part of a URL, or another path on some system.
_NOT_IN_FILE_NAMES = frozenset('/\\:?#%*"<>|')
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SchemaError(ValueError):
    """A value is not as expected; the message names its field."""


def shown(value: Any) -> str:
    """Return a value as JSON, shortened, for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value).__name__)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def fail(value: Any, field: str, expected: str) -> SchemaError:
    """Return the error for a value of a field that is not as expected."""
    return SchemaError(f"{field} is {shown(value)}; expected {expected}")


def anything(value: Any, field: str) -> None:
    """Accept every value."""


def text(value: Any, field: str) -> None:
    """Accept a string."""
    if not isinstance(value, str):
        raise fail(value, field, "text")


def label(value: Any, field: str) -> None:
    """Accept the name of something other than a file: 1 to 255 characters without control characters."""
    if not isinstance(value, str) or not 0 < len(value) <= 255 or _CONTROL.search(value):
        raise fail(value, field, "a name of 1 to 255 characters, none of them a control character")


def file_name(value: Any, field: str) -> None:
    """Accept the name of a file in the folder of the dataset itself: neither a path nor a URL."""
    if not isinstance(value, str) or not is_file_name(value):
        raise fail(value, field, "the plain name of a file in this folder")


def file_stem(value: Any, field: str) -> None:
    """Accept text without the separators of paths and without control characters: file names may begin with it."""
    label(value, field)
    if "/" in value or "\\" in value or value in (".", ".."):
        raise fail(value, field, "a name without / and \\")


def is_file_name(name: str) -> bool:
    """Return whether ``name`` names a file in a folder, for every system and in a URL."""
    is_plain = not _NOT_IN_FILE_NAMES.intersection(name) and not _CONTROL.search(name)
    return is_plain and name not in ("", ".", "..") and len(name.encode(errors="replace")) <= 255


def sha256(value: Any, field: str) -> None:
    """Accept a SHA-256 in lower-case hexadecimal."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise fail(value, field, "a SHA-256 of 64 hexadecimal digits")


def whole_number(*, at_least: int = 0) -> Check:
    """Accept whole numbers of at least ``at_least`` that fit 64 bits."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= MAX_WHOLE:
            raise fail(value, field, f"a whole number of at least {at_least}, below 2**63")

    return check


def list_of(element: Check) -> Check:
    """Accept lists whose elements all pass a check."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, list):
            raise fail(value, field, "a list")
        for index, item in enumerate(value):
            element(item, f"{field}[{index}]")

    return check


def mapping(name: Check, content: Check) -> Check:
    """Accept objects whose names and values pass these checks."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, dict):
            raise fail(value, field, "an object")
        for key, item in value.items():
            name(key, f"a name in {field}")
            content(item, f"{field}[{shown(key)}]")

    return check


def record(fields: Mapping[str, Check]) -> Check:
    """Accept objects that have all these fields; others are ignored, as a newer version may write them."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, dict):
            raise fail(value, field or "the file", "an object")
        for name, content in fields.items():
            own_field = f"{field}.{name}" if field else name
            if name not in value:
                raise SchemaError(f"{own_field} is missing")
            content(value[name], own_field)

    return check


def parse(data: bytes) -> Any:
    """Parse JSON of unknown origin. Raises SchemaError for anything else, and for more nesting than a reader can follow."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise SchemaError("it is nested too deeply") from None
    except ValueError as error:
        raise SchemaError(f"it is not JSON ({error})") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
