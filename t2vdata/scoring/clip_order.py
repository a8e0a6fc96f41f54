"""The order of the clips in a folder: by the numbers in their names, 2.npy before 10.npy. An uncertain order is refused."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Sequence

from t2vdata.errors import RequestError

_VIDEOS = (".mp4", ".gif", ".avi", ".mkv", ".webm", ".mov")
ENDINGS = (*_VIDEOS, ".npy")
_NUMBER = re.compile("([0-9]+)")
# A minus sign, not the hyphen of `clip-1`.
_SIGN = re.compile(r"(^|[^\w)\]])[-+]$")
_NEXT_MOVE = "name the file of each caption in a .csv or .jsonl with the columns file and caption"


def clips_in(folder: str) -> list[str]:
    """Return the names of the clips in a folder, in order.

    Raises RequestError where a list of captions could mean another order, and for clips in sub-folders.
    """
    names = []
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            _check_holds_no_clips(folder, entry.path)
        elif entry.name.lower().endswith(ENDINGS):
            names.append(entry.name)
    return in_order(names, folder)


def in_order(names: Sequence[str], folder: str) -> list[str]:
    """Return file names in the order of their numbers. Raises RequestError, with two of them, where the order is uncertain.

    It is certain if the names differ in nothing but whole numbers, or if sorting them as text gives the same order.
    """
    ordered = sorted(names, key=_key)
    for name, after in itertools.pairwise(ordered):
        if _key(name) == _key(after):
            raise RequestError(f"{folder} has {name!r} and {after!r}: which comes first is uncertain; {_NEXT_MOVE}")
    if _differ_in_whole_numbers(ordered):
        return ordered
    for other in (sorted(names), sorted(names, key=str.casefold)):
        for name, after in zip(ordered, other, strict=True):
            if name != after:
                raise RequestError(
                    f"{folder} has {name!r} and {after!r}, which differ in more than whole numbers: which comes first is "
                    f"uncertain; {_NEXT_MOVE}"
                )
    other_digits = next((name for name in ordered if any(map(_is_other_digit, name))), None)
    if other_digits is not None:
        raise RequestError(f"{folder} has {other_digits!r}, a number not written in digits 0 to 9; {_NEXT_MOVE}")
    return ordered


def _parts(name: str) -> list[str]:
    """Return a name without its extension as text and numbers, by turns: ``clip-12`` is ``["clip-", "12", ""]``."""
    return _NUMBER.split(unicodedata.normalize("NFC", os.path.splitext(name)[0]))


def _key(name: str) -> list[str | int]:
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(_parts(name))]


def _differ_in_whole_numbers(names: Sequence[str]) -> bool:
    """Return whether the names have the same text, and the numbers that vary have neither sign nor decimal point."""
    rows = [_parts(name) for name in names]
    if len({tuple(row[::2]) for row in rows}) != 1:
        return False
    text = rows[0]
    varying = [index for index in range(1, len(text), 2) if len({row[index] for row in rows}) > 1]
    for index in varying:
        is_decimal = (text[index - 1] in (".", ",") and index > 1) or (text[index + 1] in (".", ",") and index + 2 < len(text))
        if is_decimal or _SIGN.search("".join(text[:index])):
            return False
    return True


def _is_other_digit(character: str) -> bool:
    return character.isnumeric() and not character.isascii()


def _check_holds_no_clips(folder: str, sub_folder: str) -> None:
    for path, _, names in os.walk(sub_folder):
        clip = next((name for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")), None)
        if clip is not None:
            inner = os.path.relpath(os.path.join(path, clip), folder)
            raise RequestError(f"{folder} has clips in sub-folders, such as {inner!r}: their order is uncertain; {_NEXT_MOVE}")
