"""Read the clips of a folder: each media file with the text file of the same name beside it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from t2vdata.datasets._media_names import PICTURE_ENDINGS, VIDEO_ENDINGS, split_ending
from t2vdata.datasets._walk import walk
from t2vdata.datasets.table.files import Files, NamedFile
from t2vdata.datasets.table.parsing import Entry
from t2vdata.text import captions

_TEXT_ENDING = ".txt"
_MEDIA_ENDINGS = (*VIDEO_ENDINGS, *PICTURE_ENDINGS)


def folder_entries(folder: Path) -> Iterator[Entry]:
    """Yield the clips of a folder in the order of their names; texts without a media file are rejected."""
    names = _media_and_text_names(folder)
    texts = _Texts([name for name in names if _is_text(name)], [name for name in names if not _is_text(name)])
    files = Files(str(folder))
    for name in names:
        if _is_text(name):
            if name not in texts.used:
                yield _rejected(name, "no media file beside this text")
        elif captions.is_unicode(name):
            yield _entry(folder, name, texts.of_media.get(name), files)
        else:
            # The sample has the name, in JSON.
            yield _rejected(name, "a file name that is not UTF-8")


def source_hash(folder: Path) -> str:
    """Return the SHA-256 of the names of the media files, and of the names and contents of the texts."""
    digest = hashlib.sha256()
    for name in _media_and_text_names(folder):
        text = (_read_text(folder / name)[0] or b"") if _is_text(name) else b""
        digest.update(json.dumps([name, hashlib.sha256(text).hexdigest()]).encode())
    return digest.hexdigest()


def _is_text(name: str) -> bool:
    return name.lower().endswith(_TEXT_ENDING)


def _media_and_text_names(folder: Path) -> list[str]:
    """Return the media files and texts below a folder, sorted: relative paths with slashes."""
    return sorted(
        f"{parent}/{name}" if parent else name
        for parent, names in walk(str(folder))
        for name in names
        if name.lower().endswith((_TEXT_ENDING, *_MEDIA_ENDINGS))
    )


class _Texts:
    """Which text belongs to which media file: that of the same name, whatever the case of its ending.

    The text of ``a.mp4`` is ``a.txt``, else ``a.mp4.txt``; that of ``a.mp4.mkv`` may be ``a.txt`` too. A name in the other
    form of Unicode, or in other case, counts as the same where no text has the exact name.
    """

    def __init__(self, texts: list[str], media: list[str]) -> None:
        by_stem: dict[str, str] = {}
        # Of cat.txt and cat.TXT, the first.
        for name in sorted(texts, reverse=True):
            by_stem.setdefault(os.path.splitext(name)[0], name)
        self.of_media: dict[str, str] = {}
        for name in media:
            if (text := next(filter(None, map(by_stem.get, _stems(name))), None)) is not None:
                self.of_media[name] = text
        self.used = set(self.of_media.values())
        by_form: dict[str, list[str]] = {}
        for name in texts:
            if name not in self.used:
                by_form.setdefault(_form(os.path.splitext(name)[0]), []).append(name)
        for name in media:
            alike = next(filter(None, (by_form.get(_form(stem)) for stem in _stems(name))), [])
            if name not in self.of_media and len(alike) == 1:
                self.of_media[name] = alike[0]
                self.used.add(alike[0])


def _stems(media: str) -> tuple[str, str, str]:
    """Return the names that the text of a media file may have, without ``.txt``, the likeliest first."""
    return os.path.splitext(media)[0], media, split_ending(media, _MEDIA_ENDINGS)[0]


def _form(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _entry(folder: Path, name: str, text_name: str | None, files: Files) -> Entry:
    # As the folder has it: two names may differ in their blanks.
    file = replace(files.find(name), name=name)
    if text_name is None:
        return Entry(file, (None, None), name)
    data, problem = _read_text(folder / text_name)
    if data is None:
        return _rejected(name, "its text cannot be read", f"{text_name} ({problem})")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _rejected(name, "its text is not UTF-8", text_name)
    return Entry(file, (None, None), name, [line for line in map(captions.clean, captions.lines(text)) if line])


def _read_text(path: Path) -> tuple[bytes | None, str]:
    """Return the content of a text, or None and why it cannot be read: a link to what is not there, no permission."""
    try:
        # Reading a pipe might never end.
        if not stat.S_ISREG(path.stat().st_mode):
            return None, "not a regular file"
        return path.read_bytes(), ""
    except OSError as error:
        return None, error.strerror or str(error)


def _rejected(name: str, reason: str, source: str | None = None) -> Entry:
    shown = captions.printable(name)
    # With a caption: otherwise "no caption" would be its reason.
    return Entry(NamedFile(shown, shown, name), (None, None), source or shown, ["-"], reject_reason=reason)
