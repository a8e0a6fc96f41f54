"""Locate the packets in an MP4 file that ``build`` wrote, from its boxes (ISO/IEC 14496-12), without a demuxer."""

from __future__ import annotations

import operator
import struct
from collections.abc import Sequence
from typing import NamedTuple

# H.264: the kinds of NAL units with a slice, with data partitions, and of an IDR picture.
_SLICES, _IDR_SLICE = range(1, 6), 5
# The display matrix of a track without rotation.
_IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


class Packets(NamedTuple):
    """The byte ranges of a file's frames."""

    settings: bytes
    """The decoder's configuration (avcC)."""
    offsets: Sequence[int]
    sizes: Sequence[int]
    key_frames: Sequence[int]
    """Numbers of the frames that decode without earlier frames, rising; the first is 0."""


def find_packets(data: bytes) -> Packets | None:
    """Return the packets of an MP4 file that ``build`` wrote; None for any other file.

    Other files have, for example, another codec, B frames or a rotation.
    """
    try:
        top = _boxes(data, 0, len(data))
        return _read_tables(data, top) if b"moov" in top and b"moof" not in top else None
    except (struct.error, IndexError, KeyError, ValueError):
        return None


def _boxes(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Return {name: (start, end) of the content} of adjacent boxes. Raises ValueError for a repeated name."""
    boxes: dict[bytes, tuple[int, int]] = {}
    while start < end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end or name in boxes:
            raise ValueError(f"box {name!r} of {size} bytes")
        boxes[name] = (start + 8, start + size)
        start += size
    return boxes


def _read_tables(data: bytes, top: dict[bytes, tuple[int, int]]) -> Packets | None:
    track = _boxes(data, *_boxes(data, *top[b"moov"])[b"trak"])
    media = _boxes(data, *track[b"mdia"])
    return _tables_of(data, track, _boxes(data, *_boxes(data, *media[b"minf"])[b"stbl"]))


def _tables_of(data: bytes, track: dict[bytes, tuple[int, int]], table: dict[bytes, tuple[int, int]]) -> Packets | None:
    # ctts: frames are shown in a different order than they are stored.
    if b"ctts" in table or not _is_upright(data, track) or not _is_unedited(data, track):
        return None
    entry = table[b"stsd"][0] + 8
    if bytes(data[entry + 4 : entry + 8]) != b"avc1":
        return None
    # A visual sample entry has 78 bytes before its own boxes.
    settings = _boxes(data, entry + 86, entry + int.from_bytes(data[entry : entry + 4], "big"))[b"avcC"]
    sizes = _sizes(data, table[b"stsz"][0])
    offsets = _offsets(data, table, sizes)
    keys = range(len(sizes)) if b"stss" not in table else [n - 1 for n in _numbers(data, table[b"stss"][0] + 4)]
    if not sizes or not _are_rising(keys, len(sizes)) or not _are_apart(data, offsets, sizes):
        return None
    return Packets(bytes(data[slice(*settings)]), offsets, sizes, keys)


def _numbers(data: bytes, start: int) -> tuple[int, ...]:
    """Return a list of 32-bit numbers that is stored as its length and then the numbers."""
    (count,) = struct.unpack_from(">I", data, start)
    return struct.unpack_from(f">{count}I", data, start + 4)


def _sizes(data: bytes, start: int) -> Sequence[int]:
    same, count = struct.unpack_from(">II", data, start + 4)
    return struct.unpack_from(f">{count}I", data, start + 12) if same == 0 else [same] * min(count, len(data))


def _offsets(data: bytes, table: dict[bytes, tuple[int, int]], sizes: Sequence[int]) -> list[int]:
    """Return the offset of each packet: chunks lie anywhere, the packets of a chunk are adjacent.

    Takes time in proportion to the file: each chunk belongs to one run, and has a packet.
    """
    chunks = _numbers(data, table[b"stco"][0] + 4)
    (count,) = struct.unpack_from(">I", data, table[b"stsc"][0] + 4)
    runs = list(struct.iter_unpack(">III", data[table[b"stsc"][0] + 8 : table[b"stsc"][0] + 8 + 12 * count]))
    ends = [*(first for first, _, _ in runs[1:]), len(chunks) + 1]
    if not runs or runs[0][0] != 1:
        raise ValueError("no run of chunks begins with the first")
    offsets: list[int] = []
    for (first, per_chunk, _), end in zip(runs, ends, strict=True):
        if not first < end <= len(chunks) + 1 or not 0 < per_chunk <= len(sizes):
            raise ValueError(f"a run from chunk {first} to {end} of {len(chunks)}, each of {per_chunk} packets")
        for chunk in range(first - 1, end - 1):
            offset = chunks[chunk]
            for size in sizes[len(offsets) : len(offsets) + per_chunk]:
                offsets.append(offset)
                offset += size
    if len(offsets) != len(sizes):
        raise ValueError(f"{len(offsets)} offsets for {len(sizes)} packets")
    return offsets


def _are_rising(keys: Sequence[int], num_frames: int) -> bool:
    return bool(keys) and keys[0] == 0 and keys[-1] < num_frames and all(map(operator.lt, keys, keys[1:]))


def _are_apart(data: bytes, offsets: Sequence[int], sizes: Sequence[int]) -> bool:
    """Return whether packets follow one another in the file, as those of ``build`` do: else few bytes could be many frames."""
    ends = map(operator.add, offsets, sizes)
    return min(sizes) > 0 and all(map(operator.le, ends, (*offsets[1:], len(data))))


def begins_with_idr(data: bytes, offset: int) -> bool:
    """Return whether a packet is an IDR picture, before which no frame is needed: tables may mark others as key frames."""
    # A key frame of `build` begins with at most three parameter sets and messages.
    for _ in range(4):
        kind = data[offset + 4] & 31 if offset + 4 < len(data) else 0
        if kind in _SLICES:
            return kind == _IDR_SLICE
        offset += 4 + int.from_bytes(data[offset : offset + 4], "big")
    return False


def _is_upright(data: bytes, track: dict[bytes, tuple[int, int]]) -> bool:
    start = track[b"tkhd"][0]
    matrix = start + (52 if data[start] == 1 else 40)
    return bytes(data[matrix : matrix + 36]) == _IDENTITY


def _is_unedited(data: bytes, track: dict[bytes, tuple[int, int]]) -> bool:
    """Return whether playback starts at the track's first frame, at normal speed."""
    if b"edts" not in track:
        return True
    start = _boxes(data, *track[b"edts"])[b"elst"][0]
    if data[start] != 0 or struct.unpack_from(">I", data, start + 4) != (1,):
        return False
    _, begins, speed = struct.unpack_from(">IiI", data, start + 8)
    return bool(begins == 0 and speed == 1 << 16)
