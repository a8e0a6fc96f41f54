"""Whatever bytes a media file has: its clip gets frames, or a DecodeError. Nothing else ends a build."""

from __future__ import annotations

import functools
import io
import random

import numpy as np
import pytest
from media.heif_files import heic
from media.video_files import make
from PIL import Image, features

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest

REQUESTS = (ClipRequest(), ClipRequest(size=16, fps=10.0, num_frames=3), ClipRequest(size=8, resize="pad", deinterlaces=True))
MAX_PIXELS = 1 << 20


def saved(kind: str, picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def seeds() -> dict[str, bytes]:
    """Return small files of every kind of picture, and of the videos that are pictures one after the other."""
    rows, columns = np.mgrid[0:24, 0:32]
    colours = Image.fromarray(np.stack([rows * 10, columns * 8, rows + columns], axis=-1).astype(np.uint8))
    clear = colours.convert("RGBA")
    clear.putalpha(Image.fromarray((columns * 8).astype(np.uint8)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a picture", 72.0
    frames = {"save_all": True, "append_images": [clear.rotate(90), clear.rotate(180)], "duration": [100, 40, 250]}
    files = {
        "JPEG": saved("JPEG", colours, exif=exif, comment=b"x"),
        "progressive JPEG": saved("JPEG", colours.convert("CMYK"), progressive=True),
        "PNG": saved("PNG", clear, exif=exif),
        "grey PNG": saved("PNG", Image.fromarray((rows * 2000 + columns).astype(np.uint16))),
        "palette PNG": saved("PNG", colours.convert("P"), transparency=3),
        "animated PNG": saved("PNG", clear, **frames),
        "WebP": saved("WEBP", colours, exif=exif),
        "animated WebP": saved("WEBP", clear, **frames),
        "GIF": saved("GIF", clear, **frames),
        "BMP": saved("BMP", colours),
        "TIFF": saved("TIFF", colours),
        "HEIC": heic(np.asarray(colours), 1, 1, (24, 32)),
        "MP4": make("h264"),
        "rotated MP4": make("rotated-90"),
        "WebM": make("vp9"),
        "AVI": make("mpeg4-avi"),
    }
    if features.check("avif"):
        files |= {"AVIF": saved("AVIF", clear, exif=exif), "animated AVIF": saved("AVIF", clear, **frames)}
    return files


def mutated(data: bytes, draws: random.Random) -> bytes:
    """Return the data with a few bytes changed, mostly in its head, where sizes and tags are; or cut, or with a part twice."""
    changed = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 4, 16))):
        position = draws.randrange(min(len(changed), draws.choice((64, 512, len(changed)))))
        changed[position] = draws.choice(
            (0, 1, 0x7F, 0x80, 0xFF, changed[position] ^ (1 << draws.randrange(8)), draws.randrange(256))
        )
    kind = draws.randrange(8)
    if kind == 0:
        del changed[draws.randrange(len(changed)) :]
    elif kind == 1:
        start = draws.randrange(len(changed))
        changed[start:start] = changed[start : start + draws.randrange(64)]
    elif kind == 2:
        start = draws.randrange(len(changed))
        del changed[start : start + draws.randrange(1, 64)]
    return bytes(changed)


def check(name: str, num_mutants: int) -> None:
    draws = random.Random(name)
    data = seeds()[name]
    num_read = 0
    for number in range(num_mutants):
        mutant = mutated(data, draws) if number else data
        try:
            taken = read_clip(mutant, REQUESTS[number % len(REQUESTS)], max_pixels=MAX_PIXELS)
        except DecodeError:
            continue
        num_read += 1
        assert taken.data.dtype == np.uint8
        assert taken.data.shape[3] == 3
    assert num_read or name in ("BMP", "TIFF")


NAMES = (
    *("JPEG", "progressive JPEG", "PNG", "grey PNG", "palette PNG", "animated PNG", "WebP", "animated WebP", "GIF", "BMP"),
    *("TIFF", "HEIC", "MP4", "rotated MP4", "WebM", "AVI", "AVIF", "animated AVIF"),
)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged tags
@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes_cost_their_clip_alone(name: str) -> None:
    if name not in seeds():
        pytest.skip("this Pillow has no AVIF")
    check(name, 25)


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_thousands_of_damaged_files_cost_their_clips_alone(name: str) -> None:
    if name not in seeds():
        pytest.skip("this Pillow has no AVIF")
    check(name, 1500)
