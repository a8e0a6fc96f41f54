"""Read the annotation files of MSVD as rows: the CSV, AllVideoDescriptions, the S2VT texts, the MLDS JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from t2vdata.datasets import _cells, _text_files
from t2vdata.errors import RawDataError, RequestError
from t2vdata.text import captions

# The id of a YouTube video has eleven characters; "-" and "_" may be among them, at either end too.
KEY = re.compile(r"([A-Za-z0-9_-]{11})_(\d{1,9})_(\d{1,9})", re.ASCII)
VID = re.compile(r"vid\d{1,9}", re.ASCII)
_MAX_RECORD_CHARS = 128 << 10
_RAW_BYTE = re.compile("[\udc80-\udcff]")
_COLUMNS = ("VideoID", "Start", "End", "Description")
_ROW_START = re.compile(r'"?[^,"]*"?,"?\d+(\.0+)?"?,"?\d+(\.0+)?"?,')


@dataclass(frozen=True)
class Row:
    """A description of a clip."""

    source: str
    """Where the row is: ``file, line 7``."""
    clip: str
    """``<VideoID>_<Start>_<End>``, or ``vid7``; empty if the row names no clip."""
    caption: str | None
    """None if its bytes are not UTF-8."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The other columns of the CSV, by their official names."""
    reject_reason: str | None = None
    """Why the row cannot be used, or None."""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of an annotation file. Raises RawDataError for a file of none of the four kinds."""
    match path.suffix.lower():
        case ".csv":
            yield from _csv_rows(path)
        case ".txt":
            yield from _text_rows(path)
        case ".json":
            yield from _json_rows(path)
        case _:
            raise RawDataError(f"{path} is not an annotation file of MSVD; expected .csv, .txt or .json")


def read_mapping(path: Path) -> dict[str, str]:
    """Read {``vid7``: clip} from youtube_mapping.txt. Raises RawDataError, with the line, for an invalid line."""
    clips = {}
    for number, line in _lines(path):
        parts = line.split()
        if parts and (len(parts) != 2 or not KEY.fullmatch(parts[0]) or not VID.fullmatch(parts[1])):
            raise RawDataError(f"{path}, line {number}: expected '<VideoID>_<Start>_<End> vid7', got {line!r}")
        if parts:
            clips[parts[1]] = parts[0]
    return clips


def read_clip_list(path: Path, mapping: Mapping[str, str]) -> dict[str, str]:
    """Read {clip: ``file, line 7``} from a list with one clip per line: its key, its file, or its vid number.

    Text after the name is ignored, so youtube_mapping.txt is such a list. Raises RequestError, with the line.
    """
    sources = {}
    for number, line in _lines(path):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name = _stem(text.split()[0])
        clip = mapping.get(name, name)
        if not KEY.fullmatch(clip):
            hint = "; that needs youtube_mapping.txt in --root" if VID.fullmatch(name) and not mapping else ""
            raise RequestError(
                f"--clip-list {path}, line {number}: expected a clip such as -4wsuPCjDBc_5_15 or vid1, got {text[:60]!r}{hint}"
            )
        sources[clip] = f"{path.name}, line {number}"
    if not sources:
        raise RequestError(f"--clip-list {path} names no clip; expected one per line, such as -4wsuPCjDBc_5_15")
    return sources


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".avi")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end). A byte that is not UTF-8 becomes U+FFFD, so it spoils only its line."""
    for number, line in enumerate(_text_files.lines(path, errors="surrogateescape"), start=1):
        yield number, _RAW_BYTE.sub("\N{REPLACEMENT CHARACTER}", line).rstrip("\r\n")


def _csv_rows(path: Path) -> Iterator[Row]:
    records = _records(path)
    header = next(records, (1, ""))[1]
    names = [name.strip() for name in _text_files.csv_fields(header)]
    absent = [name for name in _COLUMNS if name not in names]
    if absent:
        raise RawDataError(
            f"{path} has no column {', '.join(absent)}; its first line is {header[:80]!r}; "
            "expected VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description"
        )
    for number, record in records:
        source = f"{path.name}, line {number}"
        if len(record) > _MAX_RECORD_CHARS:
            # Not a caption but an unclosed quote.
            yield Row(source, "", None, reject_reason="a field of over 128 KiB")
            continue
        fields = _fields(record, names)
        if any(fields):
            yield _csv_row(source, names, fields)


def _fields(record: str, names: list[str]) -> list[str]:
    """Split a record into fields, without surrounding blanks."""
    fields = [text.strip() for text in _text_files.csv_fields(record)]
    if names[-1] == "Description":
        # A caption with a comma may lack its quotes.
        fields[len(names) - 1 :] = [", ".join(fields[len(names) - 1 :])] if len(fields) >= len(names) else []
    return fields


def _csv_row(source: str, names: list[str], fields: list[str]) -> Row:
    if len(fields) != len(names):
        return Row(source, "", None, reject_reason=f"a row of other than {len(names)} fields")
    values = dict(zip(names, fields, strict=True))
    start, end = (re.sub(r"\.0+$", "", values[name]) for name in ("Start", "End"))
    clip = f"{values['VideoID']}_{start}_{end}"
    if not KEY.fullmatch(clip):
        return Row(f"{source} ({clip[:40]})", "", None, reject_reason="VideoID, Start and End name no clip")
    columns = {name: text for name, text in values.items() if name not in _COLUMNS}
    return Row(source, clip, _clean_caption(values["Description"]), columns)


def _records(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of each row of a CSV. An unclosed quote ends where the next row starts."""
    first_line, record = 0, ""
    for number, line in _lines(path):
        if first_line and record.count('"') % 2 and not _ROW_START.match(line):
            record += " " + line
            continue
        if first_line:
            yield first_line, record
        first_line, record = number, line
    if first_line:
        yield first_line, record


def _text_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a text of ``<clip> a sentence`` or ``vid7<TAB>a sentence``, below a heading of any kind."""
    is_heading = True
    for number, line in _lines(path):
        name, *rest = re.split(r"[ \t]", line.strip(), maxsplit=1)
        clip = _stem(name)
        names_a_clip = KEY.fullmatch(clip) is not None or VID.fullmatch(clip) is not None
        if not name or name.startswith("#") or (is_heading and not names_a_clip):
            continue
        is_heading = False
        source = f"{path.name}, line {number}"
        if names_a_clip:
            yield Row(source, clip, _clean_caption(rest[0] if rest else ""))
        else:
            yield Row(f"{source} ({name[:40]})", "", None, reject_reason="begins with no clip")
    if is_heading:
        raise RawDataError(
            f"{path} has no line such as '-4wsuPCjDBc_5_15 a squirrel is eating' or 'vid1<TAB>a squirrel is eating'"
        )


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _text_files.unreadable(path, error) from None
    items = _text_files.json_value(data, str(path), "is it truncated?")
    if not isinstance(items, list):
        raise RawDataError(f"{path}: expected a list of {{'caption': [...], 'id': '<clip>.avi'}}, got {_cells.shown(items)}")
    for number, item in enumerate(items, start=1):
        source = f"{path.name}, item {number}"
        value = item.get("id") if isinstance(item, dict) else None
        clip = _stem(value) if isinstance(value, str) else ""
        if not KEY.fullmatch(clip) and not VID.fullmatch(clip):
            yield Row(f"{source} ({_cells.shown(item)})", "", None, reject_reason="its id is no clip")
            continue
        value = item.get("caption") or [""]
        texts = value if isinstance(value, list) else [value]
        if any(text is not None and not isinstance(text, str) for text in texts):
            reason = "caption is neither text nor a list of texts"
            yield Row(f"{source} (caption {_cells.shown(value)})", "", None, reject_reason=reason)
            continue
        yield from (Row(source, clip, _clean_caption(text or "")) for text in texts)


def _clean_caption(text: str) -> str | None:
    """Return a caption without double quotes, like Adelaide's reader, or None if bytes of it were lost."""
    is_whole = "\N{REPLACEMENT CHARACTER}" not in text and captions.is_unicode(text)
    return captions.clean(text.replace('"', "")) if is_whole else None
