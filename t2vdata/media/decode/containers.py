"""Identify a video container by its first bytes.

If FFmpeg guesses the format, it also accepts text as a playlist (HLS, concat, SDP, DASH) and opens the files and addresses in
it. Naming the demuxer, after a check of the magic number, prevents that.
"""

from __future__ import annotations

from t2vdata.errors import DecodeError
from t2vdata.media.picture_format import KNOWN_PICTURES, picture_format

# More than enough for two sync bytes of a transport stream.
HEAD_BYTES = 1024

# FFmpeg's demuxer, offset, magic numbers.
_MAGIC = (
    ("matroska", 0, (b"\x1a\x45\xdf\xa3",)),
    ("mov", 4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    ("gif", 0, (b"GIF87a", b"GIF89a")),
    ("flv", 0, (b"FLV\x01",)),
    ("asf", 0, (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),
    ("ogg", 0, (b"OggS\0",)),
    ("ivf", 0, (b"DKIF\0\0",)),
    ("mpeg", 0, (b"\0\0\x01\xba",)),
    ("mpegvideo", 0, (b"\0\0\x01\xb3",)),
)
# What else is met under the names of videos and pictures, and how it begins.
_OTHER_FILES = (
    ("a web page, as servers send instead of a file", (b"<!DOCTYPE html", b"<!doctype html", b"<html", b"<HTML")),
    ("a BMP picture", (b"BM",)),
    ("a TIFF picture", (b"II*\0", b"MM\0*")),
    ("a JPEG 2000 picture", (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    ("a JPEG XL picture", (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("an SVG picture", (b"<svg",)),
    ("a ZIP archive", (b"PK\3\4",)),
    ("a gzip file", (b"\x1f\x8b",)),
)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

KNOWN = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, Ogg, FLV, ASF, IVF, GIF"


def is_exact_array(head: bytes) -> bool:
    """Return whether the bytes begin a Zstandard frame, as a ``.npy.zst`` file does."""
    return head.startswith(_ZSTD_MAGIC)


def demuxer(head: bytes) -> str:
    """Return the name of FFmpeg's demuxer for the container that begins with ``head``.

    Raises DecodeError for anything but a known video container, such as text and playlists.
    """
    if not head:
        raise DecodeError("no bytes")
    kind = picture_format(head)
    if kind is not None:
        raise DecodeError(f"no video container but a picture ({kind}); expected {KNOWN}")
    for name, offset, magics in _MAGIC:
        if head.startswith(magics, offset):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    # MPEG-TS: packets of 188 bytes; Blu-ray puts a 4-byte time before each.
    for start, step in ((0, 188), (4, 192)):
        if head[start : start + 1] == b"G" and head[start + step : start + step + 1] == b"G":
            return "mpegts"
    other = next((name for name, magics in _OTHER_FILES if head.lstrip().startswith(magics)), None)
    if other is not None:
        raise DecodeError(f"no video container but {other}; expected {KNOWN}; pictures: {KNOWN_PICTURES}")
    begins = "text" if head[:64].isascii() and head[:64].decode("ascii").isprintable() else head[:8].hex(" ")
    raise DecodeError(f"no video container (begins with {begins}); expected {KNOWN}; pictures: {KNOWN_PICTURES}")
