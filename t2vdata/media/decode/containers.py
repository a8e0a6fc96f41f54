"""Which video container some bytes are, told from their first bytes.

FFmpeg asked to guess would also take text for a playlist (HLS, concat, SDP, DASH) and open the files and addresses in it.
Naming the demuxer after a look at the magic number keeps it from that.
"""

from __future__ import annotations

from t2vdata.errors import DecodeError

# Enough for two sync bytes of a transport stream, and then some.
HEAD_BYTES = 1024

# Of FFmpeg's demuxers.
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
_EXACT = b"\x28\xb5\x2f\xfd"

KNOWN = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, Ogg, FLV, ASF, IVF, GIF"


def is_exact_array(head: bytes) -> bool:
    """Return whether the bytes are a Zstandard frame, as ``.npy.zst`` is."""
    return head.startswith(_EXACT)


def demuxer(head: bytes) -> str:
    """Return the name of FFmpeg's demuxer for the container that begins with ``head``.

    Raises DecodeError for what is no video container that we know: text and playlists above all.
    """
    if not head:
        raise DecodeError("no bytes")
    for name, offset, magics in _MAGIC:
        if head.startswith(magics, offset):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    # Packets of 188 bytes; Blu-ray puts 4 bytes of time before each.
    for start, step in ((0, 188), (4, 192)):
        if head[start : start + 1] == b"G" and head[start + step : start + step + 1] == b"G":
            return "mpegts"
    begins = "text" if head[:64].isascii() and head[:64].decode("ascii").isprintable() else head[:8].hex(" ")
    raise DecodeError(f"no video container (begins with {begins}); expected {KNOWN}")
