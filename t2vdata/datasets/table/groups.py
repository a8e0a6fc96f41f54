"""Groups and splits of a table's clips: a file is in one group, whatever its rows call it, and a group is in one split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence

from t2vdata.datasets.table.parsing import Entry
from t2vdata.errors import RawDataError


def assign_groups(entries: Sequence[Entry]) -> None:
    """Set the group of every entry: the given one, else that of another row of its file, else the file's first name.

    The groups of one file are joined, under the name of the first.
    """
    names = _file_names(entries)
    given = [entry.fields.group or names[entry.identity] for entry in entries]
    joined = _JoinedNames(given)
    first: dict[Hashable, str] = {}
    for entry, name in zip(entries, given, strict=True):
        # Clips without a file have nothing in common.
        if entry.file is not None and entry.fields.group is not None:
            joined.join(first.setdefault(entry.identity, name), name)
    for entry, name in zip(entries, given, strict=True):
        entry.group = joined.first(name if entry.fields.group is not None else first.get(entry.identity, name))


class _JoinedNames:
    """Names in sets, each known by its first in the order of ``names``: a union-find."""

    def __init__(self, names: Iterable[str]) -> None:
        self._order = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self._above: dict[str, str] = {}

    def join(self, name: str, other: str) -> None:
        tops = {self.first(name), self.first(other)}
        if len(tops) == 2:
            first, second = sorted(tops, key=self._order.__getitem__)
            self._above[second] = first

    def first(self, name: str) -> str:
        """Return the first name of the set that has ``name``."""
        while (above := self._above.get(name)) is not None:
            # Halves the path, so that the next search is shorter.
            self._above[name] = self._above.get(above, above)
            name = above
        return name


def _file_names(entries: Sequence[Entry]) -> dict[Hashable, str]:
    """Return {file: a name that no other file has}: the first that a row calls it."""
    names: dict[Hashable, str] = {}
    owners: dict[str, Hashable] = {}
    for entry in entries:
        if entry.identity not in names:
            name = entry.media
            if entry.file is not None and owners.setdefault(name, entry.identity) != entry.identity:
                name = f"{name}#{hashlib.sha256(entry.file.path.encode()).hexdigest()[:8]}"
            names[entry.identity] = name
    return names


def assign_splits(entries: Sequence[Entry], split_of_group: Callable[[str], str]) -> None:
    """Set the split of every entry: the one that a row of its group gives, else ``split_of_group``.

    Raises RawDataError, with both rows, for a group whose rows give two splits.
    """
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.fields.split is None or entry.reject_reason is not None:
            continue
        other = first.setdefault(entry.group, entry)
        if other.fields.split != entry.fields.split:
            raise RawDataError(
                f"{other.source} and {entry.source}: the split of {entry.group} is {other.fields.split!r} in one and "
                f"{entry.fields.split!r} in the other; expected one split for each file, and for all files of a group"
            )
    assigned: dict[str, str] = {}
    for entry in entries:
        split = entry.fields.split or first.get(entry.group, entry).fields.split or assigned.get(entry.group)
        entry.split = split or assigned.setdefault(entry.group, split_of_group(entry.group))
