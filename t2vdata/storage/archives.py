"""List the files of tar archives without unpacking them: gzipped or plain, local or at a URL.

Nothing is written under a name from an archive, and only plain files are listed: no links, no devices, no paths that leave
the archive's folder.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from t2vdata.errors import DamagedError
from t2vdata.storage.archive_stream import ArchiveStream

ENDINGS = (".tar", ".tar.gz", ".tgz")

_BLOCK = 512
# Limit of a name that does not fit its header, and of a PAX header.
_MAX_EXTENDED_BYTES = 1 << 20


@dataclass(frozen=True)
class Archive:
    """An archive to be listed."""

    name: str
    """Below the root, with slashes."""
    path: str
    """Local path, or URL."""
    num_bytes: int

    def __str__(self) -> str:
        return f"archive {self.path}"


class Member(NamedTuple):
    """A plain file in an archive."""

    name: str
    offset: int
    """Where its content begins; counted in unpacked bytes if the archive is gzipped."""
    size: int


@dataclass(frozen=True)
class Contents:
    """The files in an archive."""

    name: str
    num_bytes: int
    is_gzipped: bool = False
    members: list[Member] = field(default_factory=list)
    """The complete files, in their order."""
    damage: str | None = None
    """Why there may have been more."""


def contents(archive: Archive, max_members: int | None = None) -> Contents:
    """List an archive, or its first ``max_members`` files. Found by name in the workers of an engine.

    Raises FileNotFoundError, StorageError or StoreAwayError when it cannot be read at all.
    """
    members: list[Member] = []
    damage, is_gzipped = None, False
    with contextlib.closing(ArchiveStream(archive.path)) as stream:
        try:
            is_gzipped = stream.is_gzipped
            for member in _members(stream):
                members.append(member)
                if len(members) == max_members:
                    break
        except DamagedError as error:
            damage = str(error)
    return Contents(archive.name, archive.num_bytes, is_gzipped, members, damage)


def _members(stream: ArchiveStream) -> Iterator[Member]:
    """Yield the plain files of an archive, each once it is known to be complete. Raises DamagedError."""
    extended: dict[str, str] = {}
    while True:
        start = stream.position
        header = stream.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        if len(header) < _BLOCK:
            raise DamagedError(
                f"{stream.path} ends at byte {stream.position}, without an end mark" if start else f"{stream.path} is empty"
            )
        kind, name, size = parse_header(stream.path, header, start)
        size = int(extended.get("size", size))
        padding = -size % _BLOCK
        if kind in (b"L", b"x", b"K", b"g"):
            if size > _MAX_EXTENDED_BYTES:
                raise DamagedError(f"{stream.path}: a name of {size} bytes at byte {start}")
            content = b"".join(stream.chunks(size))
            stream.skip(padding)
            if kind == b"L":
                extended["path"] = content.rstrip(b"\0").decode("utf-8", "replace")
            elif kind == b"x":
                extended |= _parse_pax(content)
            continue
        offset = stream.position
        stream.skip(size + padding if _has_content(kind) else 0)
        name, extended = extended.get("path", name), {}
        if kind in (b"0", b"\0", b"7") and (safe_name := _safe_name(name)) is not None:
            yield Member(safe_name, offset, size)


def _has_content(kind: bytes) -> bool:
    # Links, devices, folders and pipes have none, whatever their header says.
    return kind not in (b"1", b"2", b"3", b"4", b"5", b"6")


def parse_header(path: str, header: bytes, position: int) -> tuple[bytes, str, int]:
    """Return (kind, name, size) of a tar header of 512 bytes. Raises DamagedError when it is not one."""
    expected = sum(header) - sum(header[148:156]) + 8 * 0x20
    try:
        checksum = int(header[148:156].strip(b"\0 ") or b"0", 8)
        size = int.from_bytes(header[125:136]) if header[124] == 0x80 else int(header[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        checksum, size = -1, 0
    if checksum != expected or size < 0:
        raise DamagedError(f"{path}: no tar header at byte {position}")
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return header[156:157], (prefix + b"/" + name if prefix else name).decode("utf-8", "replace"), size


def _parse_pax(content: bytes) -> dict[str, str]:
    """Return the path and the size that a PAX header gives for the next file: lines such as ``16 path=a/b.mp4``."""
    values: dict[str, str] = {}
    while record := re.match(rb"(\d+) ", content):
        length = int(record[1])
        key, _, value = content[record.end() : length - 1].partition(b"=")
        if key == b"path" or (key == b"size" and value.isdigit()):
            values[key.decode()] = value.decode("utf-8", "replace")
        content = content[max(length, 1) :]
    return values


def _safe_name(name: str) -> str | None:
    """Return a name without leading ``./``, or None for one that leads out of its folder."""
    name = re.sub(r"^(\./+)+", "", name)
    return None if not name or name.startswith("/") or "\\" in name or ".." in name.split("/") else name
