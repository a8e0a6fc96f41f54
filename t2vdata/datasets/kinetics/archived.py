"""Clips of Kinetics in the archives of a release, ``train/part_0.tar.gz`` and the like: which is where."""

from __future__ import annotations

import os

from t2vdata.datasets._root import Root
from t2vdata.datasets.kinetics import lists
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import MediaRef

_SPLITS = ("train", "val", "test")
# More than an archive has members.
_PLACES = 1 << 32


class Packed:
    """The clips in what is known of a root's archives."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._archives = list(root.contents.values())
        self._where: dict[str, int] = {}
        """{name without ending: number of its archive, and of the member in it}"""
        for number, one in enumerate(self._archives):
            for place, member in enumerate(one.members):
                name = _name(member.name)
                if name is not None and (name not in self._where or (_replaces(one) and not self.is_replacement(name))):
                    self._where[name] = number * _PLACES + place
        self._damaged = [one for one in self._archives if one.damage is not None]

    def __bool__(self) -> bool:
        return bool(self._where or self._damaged)

    def place(self, name: str) -> int | None:
        """Return where a clip comes in the order of the archives, or None for one that is in none."""
        return self._where.get(name)

    def is_replacement(self, name: str) -> bool:
        """Return whether the archive that has a clip is one of replacements."""
        return name in self._where and _replaces(self._archives[self._where[name] // _PLACES])

    def find(self, name: str, split: str) -> MediaRef | None:
        """Return where a clip is; why it may not be there, where archives are damaged; None where nothing is known of it."""
        if name in self._where:
            number, place = divmod(self._where[name], _PLACES)
            one = self._archives[number]
            member = one.members[place]
            path = self._root.path(one.name)
            return MediaRef(path, _unpacked(one, member), member.size, member.offset, one.is_gzipped)
        own = f"{name}.mp4"
        if self._archives and self._root.is_partly_known:
            return MediaRef(self._root.path(self._archives[0].name), own, is_in_unread_archive=True)
        damaged = [one.name for one in self._damaged if _split(one) in (split, None)]
        if not damaged:
            return None
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        absent_reason = f"no media file, and {damaged[0]}{more} is damaged"
        return MediaRef(self._root.path(own), own, absent_reason=absent_reason)


def _name(member: str) -> str | None:
    stem, ending = os.path.splitext(member.rpartition("/")[2])
    is_clip = ending.lower() in lists.MEDIA and len(stem) > 11 and lists.NAME.fullmatch(stem)
    return stem if is_clip else None


def _replaces(one: Contents) -> bool:
    return "replacement" in one.name


def _split(one: Contents) -> str | None:
    return next((name for name in one.name.split("/")[:-1] if name in _SPLITS), None)


def _unpacked(one: Contents, member: Member) -> str:
    """Return the path of a member below the root, had its archive been unpacked into the folder of its split."""
    if _replaces(one):
        return f"replacement/{member.name}"
    split = _split(one)
    return member.name if split is None or member.name.startswith(f"{split}/") else f"{split}/{member.name}"
