"""The texts in which MSVD goes round, each as rows: the CSV, AllVideoDescriptions, the S2VT texts, the MLDS JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from t2vdata.errors import RawDataError, RequestError
from t2vdata.text import captions

# The identifier of a YouTube video has eleven characters; "-" and "_" may be among them, at either end too.
KEY = re.compile(r"([A-Za-z0-9_-]{11})_(\d+)_(\d+)")
VID = re.compile(r"vid\d+")
_COLUMNS = ("VideoID", "Start", "End", "Description")
_NEW_ROW = re.compile(r'"?[^,"]*"?,"?\d+(\.0+)?"?,"?\d+(\.0+)?"?,')


@dataclass(frozen=True)
class Row:
    """A description of a clip."""

    where: str
    """``file, line 7``"""
    clip: str
    """``<VideoID>_<Start>_<End>``, or ``vid7``; empty where the row names no clip."""
    text: str | None
    """None where its bytes are not UTF-8."""
    about: Mapping[str, str] = field(default_factory=dict)
    """The other columns of the CSV, by their official names."""
    why_not: str | None = None
    """Why nothing can be made of the row."""


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of an annotation file. Raises RawDataError for a file that is none of the four."""
    match path.suffix.lower():
        case ".csv":
            yield from _csv(path)
        case ".txt":
            yield from _text(path)
        case ".json":
            yield from _json(path)
        case _:
            raise RawDataError(f"{path} is no annotation file of MSVD; expected .csv, .txt or .json")


def mapping(path: Path) -> dict[str, str]:
    """Return {``vid7``: clip} of youtube_mapping.txt. Raises RawDataError with the line for what cannot be read."""
    found = {}
    for number, line in _lines(path):
        parts = line.split()
        if parts and (len(parts) != 2 or not KEY.fullmatch(parts[0]) or not VID.fullmatch(parts[1])):
            raise RawDataError(f"{path}, line {number}: expected '<VideoID>_<Start>_<End> vid7', got {line!r}")
        if parts:
            found[parts[1]] = parts[0]
    return found


def clip_list(path: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return {clip: ``file, line 7``} of a list with one clip a line: its key, its file, or its vid number.

    What follows the name on its line is ignored, so that youtube_mapping.txt is such a list. Raises RequestError with the line.
    """
    found = {}
    for number, line in _lines(path):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name = _stem(text.split()[0])
        clip = names.get(name, name)
        if not KEY.fullmatch(clip):
            hint = "; that needs youtube_mapping.txt in --root" if VID.fullmatch(name) and not names else ""
            raise RequestError(
                f"--clip-list {path}, line {number}: expected a clip such as -4wsuPCjDBc_5_15 or vid1, got {text[:60]!r}{hint}"
            )
        found[clip] = f"{path.name}, line {number}"
    if not found:
        raise RequestError(f"--clip-list {path} names no clip; expected one a line, such as -4wsuPCjDBc_5_15")
    return found


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".avi")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end). A byte that is not UTF-8 comes as U+FFFD: it costs its line alone."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.rstrip("\r\n")


def _csv(path: Path) -> Iterator[Row]:
    records = _records(path)
    header = next(records, (1, ""))[1]
    names = [name.strip() for name in next(csv.reader([header]), [])]
    lacking = [name for name in _COLUMNS if name not in names]
    if lacking:
        raise RawDataError(
            f"{path} has no column {', '.join(lacking)}; its first line is {header[:80]!r}; "
            "expected VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"
        )
    for number, record in records:
        where = f"{path.name}, line {number}"
        try:
            # Not strict: captions hold quotes of their own.
            fields = [text.strip() for text in next(csv.reader([record]))]
        except csv.Error:
            # A field of over 128 KiB: no caption, but a quote that was never closed.
            yield Row(where, "", None, why_not="a field of over 128 KiB")
            continue
        if names[-1] == "Description":
            # A comma in a caption without quotes.
            fields[len(names) - 1 :] = [", ".join(fields[len(names) - 1 :])] if len(fields) >= len(names) else []
        if not any(fields):
            continue
        if len(fields) != len(names):
            yield Row(where, "", None, why_not=f"a row of other than {len(names)} fields")
            continue
        values = dict(zip(names, fields, strict=True))
        start, end = (re.sub(r"\.0+$", "", values[name]) for name in ("Start", "End"))
        clip = f"{values['VideoID']}_{start}_{end}"
        about = {name: text for name, text in values.items() if name not in _COLUMNS}
        if KEY.fullmatch(clip):
            yield Row(where, clip, _sound(values["Description"]), about)
        else:
            yield Row(f"{where} ({clip[:40]})", "", None, why_not="VideoID, Start and End name no clip")


def _records(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line at which it begins, text) of each row of a CSV. A quote that is never closed ends where a row begins."""
    begun, record = 0, ""
    for number, line in _lines(path):
        if begun and record.count('"') % 2 and not _NEW_ROW.match(line):
            record += " " + line
            continue
        if begun:
            yield begun, record
        begun, record = number, line
    if begun:
        yield begun, record


def _text(path: Path) -> Iterator[Row]:
    """Rows of ``<clip> a sentence`` or ``vid7<TAB>a sentence``, below a heading of any kind."""
    is_heading = True
    for number, line in _lines(path):
        name, *rest = re.split(r"[ \t]", line.strip(), maxsplit=1)
        clip = _stem(name)
        names_a_clip = KEY.fullmatch(clip) is not None or VID.fullmatch(clip) is not None
        if not name or name.startswith("#") or (is_heading and not names_a_clip):
            continue
        is_heading = False
        where = f"{path.name}, line {number}"
        if names_a_clip:
            yield Row(where, clip, _sound(rest[0] if rest else ""))
        else:
            yield Row(f"{where} ({name[:40]})", "", None, why_not="begins with no clip")
    if is_heading:
        raise RawDataError(
            f"{path} has no line such as '-4wsuPCjDBc_5_15 a squirrel is eating' or 'vid1<TAB>a squirrel is eating'"
        )


def _json(path: Path) -> Iterator[Row]:
    try:
        items = json.loads(path.read_bytes())
    except ValueError as error:
        raise RawDataError(f"{path}: {error}; is it cut short?") from None
    if not isinstance(items, list):
        raise RawDataError(f"{path}: expected a list of {{'caption': [...], 'id': '<clip>.avi'}}, got {str(items)[:40]!r}")
    for number, item in enumerate(items, start=1):
        where = f"{path.name}, item {number}"
        clip = _stem(str(item.get("id", ""))) if isinstance(item, dict) else ""
        if not KEY.fullmatch(clip) and not VID.fullmatch(clip):
            yield Row(f"{where} ({str(item)[:40]})", "", None, why_not="its id is no clip")
            continue
        texts = item.get("caption") or [""]
        yield from (Row(where, clip, _sound(str(text))) for text in ([texts] if isinstance(texts, str) else texts))


def _sound(text: str) -> str | None:
    """Return a caption without double quotes, as Adelaide's reader has it, or None where bytes are lost."""
    return None if "\N{REPLACEMENT CHARACTER}" in text else captions.clean(text.replace('"', ""))
