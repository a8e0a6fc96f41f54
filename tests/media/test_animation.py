"""Animated WebP, PNG and AVIF are videos: frames, times, rates and lengths as of a GIF of the same pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.decode.backends import load

LEVELS = (0, 80, 160, 240)
MILLISECONDS = (100, 200, 100, 400)
KINDS = {
    "WEBP": {"lossless": True, "codec": "webp"},
    "PNG": {"codec": "apng"},
    "AVIF": {"quality": 100, "codec": "avif"},
}


def animated(kind: str, *, milliseconds: tuple[int, ...] = MILLISECONDS, mode: str = "RGB", **options: object) -> bytes:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pictures = [Image.new(mode, (64, 48), (level, level, level, 255)[: len(mode)]) for level in LEVELS]
    file = io.BytesIO()
    settings = {name: value for name, value in KINDS[kind].items() if name != "codec"}
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=list(milliseconds), **settings, **options)
    return file.getvalue()


def levels(data: bytes, **request: object) -> list[int]:
    frames = read_clip(data, ClipRequest(**request)).data
    return [round(float(frame.mean())) for frame in frames]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_shown_at_their_times(kind: str) -> None:
    data = animated(kind)
    assert levels(data) == pytest.approx(LEVELS, abs=2)
    taken = read_clip(data, ClipRequest(measures_seconds=True))
    assert taken.fps == pytest.approx(5.0)
    assert taken.about["original"]["codec"] == KINDS[kind]["codec"]
    assert taken.about["original"]["fps"] == pytest.approx(5.0)
    assert (taken.about["original"]["height"], taken.about["original"]["width"]) == (48, 64)
    expected = [0, 80, 80, 160, 240, 240, 240, 240]
    assert levels(data, fps=10.0) == pytest.approx(expected, abs=2)
    assert levels(data, start_seconds=0.3, num_frames=1) == pytest.approx([160], abs=2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_of_one_picture_is_a_picture(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, kind)
    taken = read_clip(file.getvalue(), ClipRequest(num_frames=4))
    assert taken.num_frames == 1
    assert "fps" not in taken.about["original"]


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_frames_without_a_duration_last_as_long_as_in_browsers(kind: str) -> None:
    assert read_clip(animated(kind, milliseconds=(0, 10, 0, 0)), ClipRequest()).fps == pytest.approx(10.0)
    assert read_clip(animated(kind, milliseconds=(20, 20, 20, 20)), ClipRequest()).fps == pytest.approx(50.0)


def test_a_png_picture_before_the_animation_is_left_out() -> None:
    assert levels(animated("PNG", milliseconds=(100, 100, 100), default_image=True)) == list(LEVELS[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_colours_of_animations_are_white(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pictures = [Image.new("RGBA", (64, 48), (level, 0, 0, 0)) for level in (200, 100)]
    for picture, level in zip(pictures, (200, 100), strict=True):
        picture.paste((level, 0, 0, 255), (0, 0, 32, 48))
    options = {"quality": 100} if kind == "AVIF" else {"lossless": True, "exact": True}
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=100, **options)
    frames = read_clip(file.getvalue(), ClipRequest()).data
    assert len(frames) == 2
    assert frames[:, 24, 48].min() > 250
    assert frames[:, 24, 8, 0].tolist() == pytest.approx([200, 100], abs=4)


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_a_damaged_animation_gives_the_frames_before_the_damage(kind: str) -> None:
    data = animated(kind)
    shown = {len(levels(data[:length])) for length in range(len(data) * 3 // 4, len(data), 3) if _is_readable(data[:length])}
    assert shown <= {1, 2, 3, 4}


def _is_readable(data: bytes) -> bool:
    try:
        read_clip(data, ClipRequest())
    except DecodeError:
        return False
    return True


def test_avif_is_whole_and_upright() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    rows, columns = np.mgrid[0:48, 0:64]
    pixels = np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    shown = read_clip(file.getvalue(), ClipRequest()).data
    assert shown.shape == (1, 64, 48, 3)
    assert np.abs(shown[0].astype(int) - np.rot90(pixels, 3)).mean() < 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_open_video_agrees(kind: str, backend: str, tmp_path: Path) -> None:
    data = animated(kind)
    expected = read_clip(data, ClipRequest()).data
    (tmp_path / "animated").write_bytes(data)
    for source in (data, tmp_path / "animated"):
        with open_video(source, backend=backend) as video:
            assert (video.num_frames, video.height, video.width, video.backend) == (4, 48, 64, "pillow")
            assert video.fps == pytest.approx(5.0)
            assert video.seconds == pytest.approx((0.0, 0.1, 0.3, 0.4))
            assert video.end_seconds == pytest.approx(0.8)
            assert np.array_equal(video.frames_at([3, 0, 0, 2]), expected[[3, 0, 0, 2]])
            assert np.array_equal(video.frames_at_times([0.29, 0.35]), expected[[1, 2]])


@pytest.mark.parametrize("backend", ["opencv", "decord", "torchcodec", "pyav"])
def test_a_still_picture_is_no_video(backend: str) -> None:
    if load(backend).why_not("cpu") is not None:
        pytest.skip(f"{backend} does not work here")
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "PNG")
    with pytest.raises(DecodeError, match=r"no video container but a picture \(PNG\)"):
        open_video(file.getvalue(), backend=backend)


def test_parts_of_the_canvas_that_no_frame_covers_are_white() -> None:
    pictures = []
    for left in (0, 8):
        picture = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
        picture.paste((255, 0, 0, 255), (left, 0, left + 8, 8))
        pictures.append(picture)
    file = io.BytesIO()
    # The encoder cuts frames to their visible parts, which have no transparency of their own.
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    red, white = [255, 0, 0], [255, 255, 255]
    assert read_clip(file.getvalue(), ClipRequest()).data[:, 4, (4, 12, 20)].tolist() == [
        [red, white, white],
        [white, red, white],
    ]


@pytest.mark.parametrize(("hundredths", "seconds"), [(0, 0.1), (1, 0.1), (2, 0.02), (50, 0.5)])
def test_a_gif_is_as_fast_as_in_browsers(hundredths: int, seconds: float) -> None:
    pictures = [Image.new("RGB", (16, 16), (level, level, level)) for level in LEVELS]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=10 * hundredths)
    taken = read_clip(file.getvalue(), ClipRequest())
    assert taken.fps == pytest.approx(1 / seconds)
    assert taken.about["end_seconds"] == pytest.approx(len(LEVELS) * seconds)
    with open_video(file.getvalue(), backend="pyav") as video:
        assert video.seconds == pytest.approx([number * seconds for number in range(len(LEVELS))])


def test_the_rate_of_a_gif_counts_its_last_frame() -> None:
    pictures = [Image.new("RGB", (16, 16), (level, level, level)) for level in LEVELS]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=list(MILLISECONDS))
    assert read_clip(file.getvalue(), ClipRequest()).fps == pytest.approx(5.0)
