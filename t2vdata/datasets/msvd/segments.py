"""Clips of MSVD as their annotations describe them: which descriptions each has, and which of them can be used."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from t2vdata.datasets.msvd import rows
from t2vdata.datasets.msvd.rows import KEY, VID, Row
from t2vdata.errors import RawDataError, nearest


@dataclass
class Segment:
    """A clip with its descriptions."""

    source: str
    rows: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """{reason: rows}"""
    reject_reason: str | None = None


def read_segments(
    annotations: Sequence[Path], names: Mapping[str, str], *, language: str, rows_to_use: str
) -> dict[str, Segment]:
    """Return {key: segment}, with unusable rows under keys of their own, so that they are counted.

    ``names`` is {``vid7``: key}; ``language`` and ``rows_to_use`` are --row-language and --rows. Raises RawDataError for
    annotations without a clip, or without a row in the language.
    """
    segments: dict[str, Segment] = {}
    languages: Counter[str] = Counter()
    for number, row in enumerate(row for path in annotations for row in rows.read_rows(path)):
        key = names.get(row.clip, row.clip) or f"row-{number}"
        segment = segments.setdefault(key, Segment(row.source))
        segment.reject_reason = segment.reject_reason or row.reject_reason or _why_no_segment(key)
        row_language = row.columns.get("Language", "English")
        languages[row_language] += row.reject_reason is None
        reason = _why_not_row(row, row_language, language)
        if reason is None:
            segment.rows.append(row)
        elif row.reject_reason is None:
            segment.left_out[reason] += 1
    if not segments:
        raise RawDataError(f"{', '.join(map(str, annotations))}: no row names a clip")
    if language.lower() not in {known.lower() for known in languages}:
        close = nearest(language.title(), languages)
        hint = f"did you mean {close!r}?" if close else f"found {', '.join(sorted(languages)[:12])}"
        raise RawDataError(f"{annotations[0].name} has no row in {language!r} (--row-language); {hint}")
    for segment in segments.values():
        _choose_rows(segment, language, rows_to_use)
    return segments


def _why_no_segment(key: str) -> str | None:
    match = KEY.fullmatch(key)
    if match is None:
        return "not in youtube_mapping.txt" if VID.fullmatch(key) else None
    return "ends before it starts" if int(match[3]) <= int(match[2]) else None


def _why_not_row(row: Row, row_language: str, language: str) -> str | None:
    if row_language.lower() != language.lower():
        return "another language"
    if not row.caption:
        return "not UTF-8" if row.caption is None else "empty"
    letters = [letter for letter in row.caption if letter.isalpha()]
    num_latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    # One sentence of the release is Hindi but labelled English.
    return "another script" if row_language.lower() == "english" and num_latin * 2 < len(letters) else None


def _choose_rows(segment: Segment, language: str, rows_to_use: str) -> None:
    clean = [row for row in segment.rows if row.columns.get("Source", "clean") == "clean"]
    if rows_to_use == "clean" or (rows_to_use == "prefer-clean" and clean):
        segment.left_out["not clean"] += len(segment.rows) - len(clean)
        if segment.rows and not clean:
            segment.reject_reason = segment.reject_reason or "no clean description"
        segment.rows = clean
    if not segment.rows:
        segment.reject_reason = segment.reject_reason or f"no description in {language}"
