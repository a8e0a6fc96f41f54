"""``--clip-list``, ``--exclude-list`` and ``--label-list``: reading them, and finding lines that match nothing."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from t2vdata import filters
from t2vdata.datasets import _text_files
from t2vdata.errors import RequestError, unknown_name
from t2vdata.filters import ClipFilter
from t2vdata.types import Clip, without_window


@dataclass(frozen=True)
class ClipLists:
    """The lists given to a build; None for no list."""

    clip_list: Path | None = None
    exclude_list: Path | None = None
    label_list: Path | None = None

    def paths(self) -> dict[str, Path]:
        """Return {flag: file} of the given lists."""
        lists = {"--clip-list": self.clip_list, "--exclude-list": self.exclude_list, "--label-list": self.label_list}
        return {flag: path for flag, path in lists.items() if path is not None}

    def missing(self) -> str | None:
        """Return which list does not exist, or None."""
        return next((f"no file {path} ({flag})" for flag, path in self.paths().items() if not path.is_file()), None)

    def hashes(self) -> dict[str, str]:
        """Return {flag: SHA-256 of the file}."""
        return {flag: _text_files.sha256(path) for flag, path in self.paths().items()}

    def filters(self) -> list[ClipFilter]:
        """Return a filter for each list."""
        chosen: list[ClipFilter] = []
        if self.clip_list is not None:
            chosen.append(filters.Listed(frozenset(read_lines(self.clip_list))))
        if self.exclude_list is not None:
            chosen.append(filters.NotListed(frozenset(read_lines(self.exclude_list))))
        if self.label_list is not None:
            chosen.append(filters.OneOfLabels(frozenset(read_lines(self.label_list))))
        return chosen

    def unmatched(self, clips: Iterable[Clip]) -> list[Clip]:
        """Return a rejected clip for each line of ``--clip-list`` that names none of ``clips``, which are those of all splits.

        Raises RequestError for lists that ``check_names`` refuses.
        """
        if not self.paths():
            return []
        keys, labels = set[str](), set[str]()
        for clip in clips:
            keys |= clip.list_names
            if "label" in clip.meta:
                labels.add(str(clip.meta["label"]))
        self.check_names(keys, labels)
        return self.unmatched_lines(keys)

    def check_names(self, keys: Set[str], labels: Set[str]) -> None:
        """Raise RequestError for a label that no clip has, and for an ``--exclude-list`` that names no clip at all."""
        # A line may name a window of a clip whose windows are not among the keys.
        excluded = read_lines(self.exclude_list) if self.exclude_list is not None else []
        if keys and excluded and not any(name in keys for line in excluded for name in (line, without_window(line))):
            raise RequestError(
                # Most likely the keys have another form.
                f"{self.exclude_list} (--exclude-list) names no clip of this dataset; expected keys such as {min(keys)!r}"
            )
        for label in read_lines(self.label_list) if self.label_list is not None else ():
            if not labels:
                raise RequestError(f"no clip has a label here; leave out --label-list {self.label_list}")
            if label not in labels:
                raise unknown_name(f"label (--label-list {self.label_list})", label, labels)

    def unmatched_lines(self, keys: Container[str]) -> list[Clip]:
        """Return a rejected clip for each line of ``--clip-list`` that is not in ``keys``."""
        if self.clip_list is None:
            return []
        clips: dict[str, Clip] = {}
        for number, line in enumerate(read_lines(self.clip_list), start=1):
            if line not in keys:
                key = re.sub(r"[^A-Za-z0-9_-]", "_", line)[:60] or "empty"
                source = f"{self.clip_list.name}, entry {number}"
                clips.setdefault(key, Clip(key, ("-",), group=line, source=source, reject_reason="not in the annotations"))
        return list(clips.values())


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list without comments (#) and blank lines. Raises RequestError for a list without any."""
    entries = [name for line in _text_files.lines(path) if (name := line.strip()) and not name.startswith("#")]
    if not entries:
        raise RequestError(f"{path} is empty; expected one name per line")
    return entries
