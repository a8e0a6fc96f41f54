"""Identify the format of a picture file by its first bytes."""

from __future__ import annotations

KNOWN_PICTURES = "JPEG, PNG, WebP, AVIF, HEIC"

# Magic number and Pillow's name. Checked here, as Pillow would otherwise try all of its formats.
_FORMATS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"))
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis"}


def picture_format(head: bytes) -> str | None:
    """Return the format of the picture that begins with ``head``, by Pillow's name or as ``HEIC``, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _heif_format(head)
    return next((name for magic, name in _FORMATS if head.startswith(magic)), None)


def _heif_format(head: bytes) -> str | None:
    """Return the format of a HEIF file by its brands: its own, then those that it is compatible with."""
    listed = head[8 : min(int.from_bytes(head[:4], "big"), len(head))]
    brands = [listed[start : start + 4] for start in range(0, len(listed), 4)]
    if not {b"avif", b"avis"}.isdisjoint(brands):
        return "AVIF"
    is_sequence = bool(brands) and brands[0] in (b"hevc", b"hevx", b"msf1")
    return "HEIC" if not is_sequence and not _HEIC_BRANDS.isdisjoint(brands) else None
