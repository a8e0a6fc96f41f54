"""Pictures of every pixel format and orientation, animated ones, and damaged ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from t2vdata.errors import DecodeError, EncodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.encode import keep_original
from t2vdata.types import Frames

ORIENTATION = 0x0112
# What each EXIF orientation does to a picture that is stored so (H, W, C).
SHOWN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, 3),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def read(data: bytes, **request: object) -> NDArray[np.uint8]:
    return read_clip(data, ClipRequest(**request)).data


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def colours(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 40, columns * 30, 255 - rows * 20], axis=-1).astype(np.uint8)


def png(width: int, depth: int, colour_type: int, rows: Sequence[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG file with rows as they are stored; Pillow writes neither 16-bit colour nor every kind of transparency."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    encoded = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded)


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_exif_orientation_is_shown_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif, **({"lossless": True} if kind == "WEBP" else {})}
    stored = saved(Image.fromarray(colours()), kind, **options)
    without_exif = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    assert np.array_equal(read(stored)[0], SHOWN[orientation](without_exif))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of tags that it skips
@pytest.mark.parametrize("entry", [(11, 1, struct.pack("<f", 6.0)), (2, 4, b"6\0\0\0"), (3, 1, struct.pack("<HH", 60, 0))])
def test_an_orientation_of_another_type_is_ignored(entry: tuple[int, int, bytes]) -> None:
    tag_type, count, value = entry
    tags = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, ORIENTATION, tag_type, count) + value + bytes(4)
    # As a float, 6.0 is no orientation; 60 is out of range.
    assert read(saved(Image.fromarray(colours()), "PNG", exif=tags)).shape == (1, 6, 8, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_tags_may_be_broken() -> None:
    # Orientation 6, and a width that is a float: Pillow could not write these tags back.
    entries = struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0) + struct.pack("<HHIf", 0x0100, 11, 1, 48.0)
    tags = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    assert read(saved(Image.fromarray(colours()), "JPEG", exif=tags)).shape == (1, 8, 6, 3)
    for damaged in (b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", tags[:-12], b"Exif\0\0II*\0\0\0\0\0" + bytes(3)):
        assert read(saved(Image.fromarray(colours()), "JPEG", exif=damaged)).shape[0] == 1


def test_sixteen_bits_lose_their_lower_byte() -> None:
    levels = np.arange(0, 65536, 257, np.uint16)
    expected = (levels >> 8).astype(np.uint8)
    grey = png(256, 16, 0, [levels.astype(">u2").tobytes()])
    colour = png(256, 16, 2, [np.stack([levels, levels // 2, levels // 3], axis=-1).astype(">u2").tobytes()])
    assert (read(grey)[0, 0] == expected[:, None]).all()
    assert (read(colour)[0, 0] == np.stack([levels, levels // 2, levels // 3], axis=-1) >> 8).all()
    assert (read(saved(Image.fromarray(np.tile(levels, (2, 1))), "PNG"))[0, 1] == expected[:, None]).all()


_HALF = Image.fromarray(np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8))
WEBP = saved(_HALF, "WEBP", lossless=True, exact=True)
# Pixels of two colours: the first hidden, the second shown as the last value says.
TRANSPARENT = {
    "grey": (png(2, 8, 0, [b"\x50\xa0"], (b"tRNS", b"\0\x50")), (160, 160, 160)),
    "grey of 16 bits": (png(2, 16, 0, [b"\x50\x01\x50\x02"], (b"tRNS", b"\x50\x01")), (80, 80, 80)),
    "grey of 2 bits": (png(2, 2, 0, [b"\x60"], (b"tRNS", b"\0\1")), (170, 170, 170)),
    "black and white": (png(2, 1, 0, [b"\x40"], (b"tRNS", b"\0\0")), (255, 255, 255)),
    "colour": (png(2, 8, 2, [bytes(range(1, 7))], (b"tRNS", b"\0\1\0\2\0\3")), (4, 5, 6)),
    "colour of 16 bits": (png(2, 16, 2, [b"\x09\x01" * 3 + b"\x08\x01" * 3], (b"tRNS", b"\x09\x01" * 3)), (8, 8, 8)),
    "palette": (png(2, 8, 3, [b"\0\1"], (b"PLTE", bytes(range(6))), (b"tRNS", b"\0")), (3, 4, 5)),
    "grey and alpha": (png(2, 8, 4, [b"\x50\x00\xa0\xff"]), (160, 160, 160)),
    "grey and alpha of 16 bits": (png(2, 16, 4, [b"\x50\x01\x00\x00\xa0\x01\xff\xff"]), (160, 160, 160)),
    "alpha": (png(2, 8, 6, [b"\1\2\3\0\4\5\6\xff"]), (4, 5, 6)),
    "alpha of 16 bits": (png(2, 16, 6, [b"\1\0\2\0\3\0\0\0\4\0\5\0\6\0\xff\xff"]), (4, 5, 6)),
    "lossless WebP": (WEBP, (4, 5, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSPARENT)
def test_hidden_colours_are_white(name: str) -> None:
    data, shown = TRANSPARENT[name]
    assert read(data)[0, 0].tolist() == [[255, 255, 255], list(shown)]


def test_half_transparent_parts_lie_on_white() -> None:
    data = png(1, 8, 6, [b"\x00\x00\x00\x80"])
    assert read(data)[0, 0].tolist() == [[127, 127, 127]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pictures_of_every_mode_are_read(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    assert read(saved(Image.fromarray(colours()).convert(mode), kind)).shape == (1, 6, 8, 3)


def test_a_picture_cannot_be_scaled_beyond_the_limit() -> None:
    strip = saved(Image.new("RGB", (5000, 2)), "PNG")
    with pytest.raises(DecodeError, match="5000x2 would be scaled to 2560000x1024, over 134217728 pixels; use a"):
        read(strip, size=1024)
    assert read(strip, size=1024, resize="pad").shape == (1, 1024, 1024, 3)


def test_a_file_that_cannot_be_read_costs_its_clip(tmp_path: Path) -> None:
    # Reading it from the start is an input/output error, as of a failing disk.
    with pytest.raises(DecodeError, match="the file cannot be read: Input/output error"):
        read_clip("/proc/self/mem", ClipRequest())


def test_only_upright_jpeg_is_kept_as_it_is() -> None:
    frames = Frames(np.zeros((1, 6, 8, 3), np.uint8), 1.0)
    picture = Image.fromarray(colours())
    assert keep_original(saved(picture, "JPEG"), frames).data == saved(picture, "JPEG")
    exif = Image.Exif()
    exif[ORIENTATION] = 2
    with pytest.raises(EncodeError, match="its EXIF tag rotates"):
        keep_original(saved(picture, "JPEG", exif=exif), frames)
    with pytest.raises(EncodeError, match="a PNG file, but --keep-original keeps only JPEG"):
        keep_original(saved(picture, "PNG"), frames)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_damaged_header_has_the_same_message_each_time(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(png(0, 8, 2, []) if kind == "PNG" else saved(Image.new("RGB", (8, 6)), kind)[:20])
    for source in (str(path), path.read_bytes()):
        with pytest.raises(DecodeError, match=rf"^its header is damaged or of an unknown kind \({kind}\)$"):
            read_clip(source, ClipRequest())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_of_high_dynamic_range_is_marked() -> None:
    data = saved(Image.fromarray(colours(48, 64)), "AVIF")
    transfer = data.index(b"nclx") + 6
    for number, is_hdr in ((1, False), (13, False), (16, True), (18, True)):
        tagged = data[:transfer] + number.to_bytes(2, "big") + data[transfer + 2 :]
        assert read_clip(tagged, ClipRequest()).about["original"]["hdr"] is is_hdr
