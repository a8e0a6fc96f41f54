"""Shards: tar files of samples, written once and read at offsets.

Members are plain USTAR files with fixed owner, mode and time, so that equal samples give equal bytes. The bytes are those
that ``tarfile`` writes; this module takes 2 us per header, ``tarfile`` 40 us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from t2vdata.errors import RequestError, ShardError
from t2vdata.types import Sample

BLOCK = 512
# An archive ends with two empty blocks and is padded to a multiple of 20 blocks, which tar reads at a time.
_RECORD = 20 * BLOCK
_MAX_MEMBER_BYTES = 8**11 - 1
_ZEROS = bytes(BLOCK)
# Content is read in blocks of this size; a member that is wanted whole may have at most this many bytes.
_READ_BYTES, _MAX_CONTENT_BYTES = 1 << 20, 1 << 31

# Fields of a header: mode 644, uid 0, gid 0, size, mtime 0, checksum, type, magic.
_SIZE_AT, _CHECKSUM_AT, _TYPE_AT, _MAGIC_AT = 124, 148, 156, 257
_FRONT = b"0000644\0" + b"0000000\0" + b"0000000\0"
_MTIME = b"00000000000\0"
_BACK = (b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK - _TYPE_AT, b"\0")
_AFTER_SIZE = b"\0" + _MTIME
_END = b"\0 " + _BACK
# Sum of the bytes above; the checksum field counts as eight blanks.
_FIXED_SUM = sum(_FRONT) + sum(_MTIME) + 8 * 0x20 + sum(_BACK)


class Member(NamedTuple):
    """Position of one file of a sample in its shard."""

    name: str
    offset: int
    """Offset of the content in bytes, after its header."""
    size: int


def _header(name: str, size: int) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > 100 or size > _MAX_MEMBER_BYTES:
        raise RequestError(f"{name} of {size} bytes does not fit a tar member; expected at most 100 bytes of name and 8 GiB")
    digits = b"%011o" % size
    checksum = _FIXED_SUM + sum(encoded) + sum(digits)
    return encoded.ljust(100, b"\0") + _FRONT + digits + _AFTER_SIZE + b"%06o" % checksum + _END


class ShardWriter:
    """Writes samples to an open file and hashes everything written.

    Samples are in the order in which they are added; the members of a sample are adjacent, sorted by extension.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.num_samples = 0
        self.num_bytes = 0

    def add(self, sample: Sample) -> list[Member]:
        """Write a sample and return the positions of its members, in order."""
        parts: list[bytes] = []
        members: list[Member] = []
        offset = self.num_bytes
        for extension in sorted(sample.files):
            content = sample.files[extension]
            name = f"{sample.key}.{extension}"
            size = len(content)
            padding = -size % BLOCK
            parts += (_header(name, size), content, _ZEROS[:padding])
            members.append(Member(name, offset + BLOCK, size))
            offset += BLOCK + size + padding
        self._write(b"".join(parts))
        self.num_samples += 1
        return members

    def close(self) -> str:
        """Write the end of the archive and return the SHA-256 of the whole file, in hexadecimal."""
        end = 2 * BLOCK
        self._write(bytes(end + -(self.num_bytes + end) % _RECORD))
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.num_bytes += len(data)


def read_members(file: IO[bytes], *, max_bytes: int = _MAX_CONTENT_BYTES) -> Iterator[tuple[Member, bytes]]:
    """Yield each member of a shard with its content. Raises as ``stream_members``, and ShardError over ``max_bytes``."""
    for member, blocks in stream_members(file):
        if member.size > max_bytes:
            raise ShardError(f"{member.name} claims {member.size} bytes; expected at most {max_bytes}")
        yield member, b"".join(blocks)


def stream_members(file: IO[bytes]) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each member of a shard with its content in blocks, reading the file once from its current position.

    The blocks are to be used before the next member is taken; blocks left over are skipped. Raises ShardError for anything
    except plain USTAR files with correct checksums, and for a shard that is cut short. Names are only reported: nothing is
    ever unpacked to a path.
    """
    offset = 0
    while True:
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise ShardError(f"cut short at byte {offset + len(header)}: no end of archive")
        if not any(header):
            break
        member = _parse(header, offset)
        blocks = _blocks(file, member)
        yield member, blocks
        for _ in blocks:
            pass
        padding = file.read(-member.size % BLOCK)
        if len(padding) < -member.size % BLOCK:
            raise ShardError(f"cut short inside {member.name}")
        if any(padding):
            raise ShardError(f"{member.name} is followed by padding bytes that are not zero")
        offset = member.offset + member.size + len(padding)
    while tail := file.read(_READ_BYTES):
        if tail.count(0) != len(tail):
            raise ShardError(f"bytes that are not zero after the end of the archive at {offset}")


def _blocks(file: IO[bytes], member: Member) -> Iterator[bytes]:
    num_left = member.size
    while num_left:
        block = file.read(min(num_left, _READ_BYTES))
        if not block:
            raise ShardError(f"cut short inside {member.name}")
        num_left -= len(block)
        yield block


def _parse(header: bytes, offset: int) -> Member:
    numbers = header[_CHECKSUM_AT : _CHECKSUM_AT + 6], header[_SIZE_AT : _SIZE_AT + 11]
    name = header[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
    # Digits only: int() accepts a sign, and a member of negative size would pass every limit.
    if not all(set(number) <= set(b"01234567") for number in numbers):
        raise ShardError(f"no tar header at byte {offset}")
    checksum, size = (int(number, 8) for number in numbers)
    expected = sum(header) - sum(header[_CHECKSUM_AT : _CHECKSUM_AT + 8]) + 8 * 0x20
    if checksum != expected or header[_MAGIC_AT : _MAGIC_AT + 5] != b"ustar":
        raise ShardError(f"damaged tar header at byte {offset}")
    if header[_TYPE_AT : _TYPE_AT + 1] != b"0":
        raise ShardError(f"{name!r} at byte {offset} is not a plain file")
    return Member(name, offset + BLOCK, size)


def read_samples(file: IO[bytes]) -> Iterator[tuple[Sample, list[Member]]]:
    """Yield the samples of a shard with the positions of their members: adjacent members with one key, as in WebDataset."""
    key, files, members = "", dict[str, bytes](), list[Member]()
    for member, content in read_members(file):
        own_key, _, extension = member.name.partition(".")
        if own_key != key and files:
            yield Sample(key, files), members
            files, members = {}, []
        key = own_key
        if extension in files:
            raise ShardError(f"{member.name} exists twice")
        files[extension] = content
        members.append(member)
    if files:
        yield Sample(key, files), members
