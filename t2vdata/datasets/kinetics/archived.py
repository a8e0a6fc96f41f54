"""Find clips of Kinetics in the archives of a release, such as ``train/part_0.tar.gz``."""

from __future__ import annotations

from collections.abc import Sequence

from t2vdata.datasets.kinetics import lists
from t2vdata.datasets.root import Root
from t2vdata.storage.archives import Contents, Member
from t2vdata.types import MediaRef

_SPLITS = ("train", "val", "test")
# More than any archive has members: a clip's index is archive index * this + member index.
_MAX_MEMBERS = 1 << 32


class ArchiveIndex:
    """An index of the clips in the archives of a root. If the ``contents`` are incomplete, the archives may hold more clips."""

    def __init__(self, root: Root, contents: Sequence[Contents], *, is_complete: bool) -> None:
        self._root = root
        self._archives = contents
        self._is_complete = is_complete
        self._indices: dict[str, int] = {}
        """{name without extension: archive index * _MAX_MEMBERS + member index}"""
        for archive_index, archive in enumerate(self._archives):
            for member_index, member in enumerate(archive.members):
                name = _clip_name(member.name)
                if name is None:
                    continue
                if name not in self._indices or (_has_replacements(archive) and not self.is_replacement(name)):
                    self._indices[name] = archive_index * _MAX_MEMBERS + member_index
        self._damaged = [archive for archive in self._archives if archive.damage is not None]

    def __bool__(self) -> bool:
        return bool(self._indices or self._damaged)

    def index(self, name: str) -> int | None:
        """Return a number that sorts clips in the order of the archives; None for a clip that is in no archive."""
        return self._indices.get(name)

    def is_replacement(self, name: str) -> bool:
        """Return whether a clip comes from an archive of replacements."""
        return name in self._indices and _has_replacements(self._archives[self._indices[name] // _MAX_MEMBERS])

    def find(self, name: str, split: str) -> MediaRef | None:
        """Return the location of a clip, or why it is absent if archives are damaged; None if intact archives lack it."""
        if name in self._indices:
            archive_index, member_index = divmod(self._indices[name], _MAX_MEMBERS)
            archive = self._archives[archive_index]
            member = archive.members[member_index]
            path = self._root.path(archive.name)
            return MediaRef(path, _unpacked_path(archive, member), member.size, member.offset, archive.is_gzipped)
        file_name = f"{name}.mp4"
        if self._archives and not self._is_complete:
            return MediaRef(self._root.path(self._archives[0].name), file_name, is_in_unread_archive=True)
        damaged = [archive.name for archive in self._damaged if _split(archive) in (split, None)]
        if not damaged:
            return None
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        absent_reason = f"no media file, and {damaged[0]}{more} is damaged"
        return MediaRef(self._root.path(file_name), file_name, absent_reason=absent_reason)


def _clip_name(member_name: str) -> str | None:
    return lists.clip_name(member_name.rpartition("/")[2])


def _has_replacements(archive: Contents) -> bool:
    return "replacement" in archive.name


def _split(archive: Contents) -> str | None:
    return next((name for name in archive.name.split("/")[:-1] if name in _SPLITS), None)


def _unpacked_path(archive: Contents, member: Member) -> str:
    """Return the path below the root that a member would have if its archive were unpacked into the folder of its split."""
    if _has_replacements(archive):
        return f"replacement/{member.name}"
    split = _split(archive)
    return member.name if split is None or member.name.startswith(f"{split}/") else f"{split}/{member.name}"
