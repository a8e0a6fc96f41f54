"""Groups and splits of a table's clips: a file is in one group, whatever its rows call it, and a group is in one split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence

from t2vdata.datasets.table.parsing import Entry
from t2vdata.errors import RawDataError


def assign_groups(entries: Sequence[Entry]) -> None:
    """Set the group of every entry: the given one, else that of another row of its file, else the file's first name."""
    given: dict[Hashable, set[str]] = {}
    for entry in entries:
        if entry.fields.group is not None:
            given.setdefault(entry.identity, set()).add(entry.fields.group)
    names = _file_names(entries)
    for entry in entries:
        groups = given.get(entry.identity, set())
        if entry.fields.group is not None:
            entry.group = entry.fields.group
        else:
            entry.group = next(iter(groups)) if len(groups) == 1 else names[entry.identity]


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
                f"{entry.fields.split!r} in the other; expected one split for each video, or a column 'group' that divides it"
            )
    assigned: dict[str, str] = {}
    for entry in entries:
        split = entry.fields.split or first.get(entry.group, entry).fields.split or assigned.get(entry.group)
        entry.split = split or assigned.setdefault(entry.group, split_of_group(entry.group))
