"""Colours as a file tags them: what FFmpeg converts, what it does not, BT.2020 of standard range, and hidden colours."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest

from t2vdata.errors import DecodeError
from t2vdata.media import bt2020
from t2vdata.media.rgb import RgbConverter


def yuv(pixel_format: str = "yuv420p", *, luma: int = 90, chroma: int = 110, **tags: int) -> av.VideoFrame:
    """Return a frame of one colour, 64x48, with these tags."""
    frame = av.VideoFrame(64, 48, pixel_format)
    depth = frame.format.components[0].bits
    kind = np.uint8 if depth == 8 else np.dtype("<u2")
    for plane, level in zip(frame.planes, (luma, chroma, 256 - chroma), strict=False):
        plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, level << (depth - 8), kind).tobytes())
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


def colour(frame: av.VideoFrame) -> list[int]:
    pixels = RgbConverter().rgb(frame, 48, 64)
    assert pixels.shape == (48, 64, 3)
    return pixels[24, 32].tolist()


@pytest.mark.parametrize(
    ("matrix", "name"), [(8, "YCgCo"), (10, "BT.2020 constant luminance"), (12, "chroma-derived"), (14, "ICtCp")]
)
def test_colours_that_ffmpeg_does_not_convert_fail_with_their_name(matrix: int, name: str) -> None:
    with pytest.raises(DecodeError, match=f"its colours are tagged as {name}, which FFmpeg cannot convert to RGB"):
        colour(yuv(colorspace=matrix))
    with pytest.raises(DecodeError, match=name):
        RgbConverter().grey(yuv(colorspace=matrix), 24, 32)


@pytest.mark.parametrize(
    "tags", [{"colorspace": 3}, {"colorspace": 77}, {"color_range": 3}, {"color_primaries": 99}, {"color_trc": 42}]
)
def test_reserved_numbers_count_as_untagged(tags: Mapping[str, int]) -> None:
    assert colour(yuv(**tags)) == colour(yuv())


@pytest.mark.parametrize("matrix", range(32))
def test_every_tag_gives_pixels_or_an_error_of_its_clip(matrix: int) -> None:
    for tags in ({"colorspace": matrix}, {"color_primaries": matrix}, {"color_trc": matrix}, {"color_range": matrix}):
        for pixel_format in ("yuv420p", "yuv444p10le", "gray", "gbrp"):
            with contextlib.suppress(DecodeError):
                assert len(colour(yuv(pixel_format, **tags))) == 3


@pytest.mark.parametrize("height", [1024, 1 << 16])
def test_a_size_beyond_the_limits_is_an_error_of_its_clip(height: int) -> None:
    with pytest.raises(DecodeError, match=f"64x48 would be scaled to 262144x{height}, over .* pixels; use a smaller --size"):
        RgbConverter().rgb(yuv(), height, 262144)


# BT.2020


def of_ffmpeg(frame: av.VideoFrame) -> list[int]:
    """Return the colour that FFmpeg's filter `colorspace` gives for BT.709."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=48, format=frame.format, time_base=frame.time_base)
    links = [
        source,
        graph.add("colorspace", "all=bt709:iall=bt2020:format=yuv444p12:irange=tv:range=tv"),
        graph.add("buffersink"),
    ]
    for left, right in itertools.pairwise(links):
        left.link_to(right)
    graph.configure()
    graph.vpush(frame)
    graph.vpush(None)
    converted = graph.vpull()
    converted.color_primaries = converted.color_trc = 1
    converted.colorspace, converted.color_range = 1, 1
    return colour(converted)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("levels", [(90, 110), (150, 128), (60, 140), (200, 120)])
@pytest.mark.parametrize("transfer", [1, 14])
def test_bt2020_becomes_bt709_as_in_ffmpegs_filter(pixel_format: str, levels: tuple[int, int], transfer: int) -> None:
    luma, chroma = levels
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    frame = yuv(pixel_format, luma=luma, chroma=chroma, **tags)
    frame.time_base = Fraction(1, 25)
    frame.pts = 0
    assert not bt2020.is_hdr(frame)
    shown = np.array(colour(frame))
    assert np.abs(shown - of_ffmpeg(frame)).max() <= 3
    untouched = np.array(colour(yuv(pixel_format, luma=luma, chroma=chroma, colorspace=9, color_range=1)))
    assert (np.abs(shown - untouched).max() <= 1) == (chroma == 128)


def test_white_and_black_stay_and_wide_colours_are_clipped() -> None:
    levels = np.array([[[0, 0, 0], [65535, 65535, 65535], [0, 65535, 0], [32768, 32768, 32768]]], np.uint16)
    assert bt2020.to_bt709(levels, 1)[0].tolist() == [[0, 0, 0], [255, 255, 255], [0, 255, 0], [128, 128, 128]]


@pytest.mark.parametrize("transfer", [4, 5, 7, 8, 13])
def test_other_transfers_are_decoded_as_they_are_tagged(transfer: int) -> None:
    grey = np.full((1, 1, 3), 32768, np.uint16)
    level = bt2020.to_bt709(grey, transfer)[0, 0, 0]
    # BT.709 is near a gamma of 2: linear light looks lighter, a higher gamma darker.
    assert level > 170 if transfer == 8 else 90 < level < 135
    assert bt2020.to_bt709(np.full((1, 1, 3), 65535, np.uint16), transfer).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(
    ("pixel_format", "transfer", "is_hdr"),
    [
        ("yuv420p10le", 16, True),
        ("yuv420p10le", 18, True),
        ("yuv420p10le", 2, True),
        ("yuv420p", 2, False),
        ("yuv420p10le", 14, False),
        ("yuv420p10le", 1, False),
    ],
)
def test_the_transfer_says_whether_bt2020_is_hdr(pixel_format: str, transfer: int, is_hdr: bool) -> None:
    assert bt2020.is_hdr(yuv(pixel_format, color_primaries=9, color_trc=transfer)) == is_hdr
    assert bt2020.is_hdr(yuv(pixel_format, color_primaries=1, color_trc=transfer)) == (transfer in (16, 18))


# Transparency


@pytest.mark.parametrize(
    "pixel_format", ["rgba", "bgra", "argb", "abgr", "yuva420p", "yuva444p10le", "gbrap", "rgba64le", "ya8", "pal8"]
)
def test_hidden_colours_of_frames_are_white(pixel_format: str) -> None:
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[:, :32] = (200, 200, 200, 255)
    pixels[:, 32:] = (40, 40, 40, 0)
    if pixel_format == "pal8":
        palette = np.zeros((256, 4), np.uint8)
        palette[0], palette[1] = (255, 200, 200, 200), (0, 40, 40, 40)
        indices = np.zeros((48, 64), np.uint8)
        indices[:, 32:] = 1
        frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
    else:
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pixel_format)
    shown = RgbConverter().rgb(frame, 48, 64)
    assert np.abs(shown[24, 8].astype(int) - 200).max() <= 3
    assert shown[24, 56].min() >= 254
    # Scaled afterwards, so that no hidden colour bleeds into the edge.
    assert RgbConverter().rgb(frame, 24, 32)[:, 14:].min() >= 190


def test_opaque_frames_with_transparency_are_converted_directly() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 4), np.uint8)
    pixels[..., 3] = 255
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
    assert np.array_equal(RgbConverter().rgb(frame, 48, 64), pixels[..., :3])
