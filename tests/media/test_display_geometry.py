"""Turned, mirrored and anamorphic files are shown as FFmpeg shows them, in builds and by every backend."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from media.video_files import anamorphic, changing, make, with_matrix
from numpy.typing import NDArray

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.decode.backends import load
from t2vdata.media.display_geometry import SQUARE, Orientation, pixel_ratio

# The display matrix (a, b, c, d), and what `ffmpeg -i` does to each frame (T, H, W, C) for it.
MATRICES = {
    "upright": ((1, 0, 0, 1), lambda frames: frames),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "turned by 180": ((-1, 0, 0, -1), lambda frames: frames[:, ::-1, ::-1]),
    "turned by 90": ((0, 1, -1, 0), lambda frames: np.rot90(frames, 3, axes=(1, 2))),
    "turned by 270": ((0, -1, 1, 0), lambda frames: np.rot90(frames, 1, axes=(1, 2))),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.swapaxes(1, 2)),
    "transversed": ((0, -1, -1, 0), lambda frames: np.rot90(frames, 2, axes=(1, 2)).swapaxes(1, 2)),
}
BACKENDS = ("pyav", "torchcodec", "decord", "opencv")


def pixels(data: bytes, backend: str = "pyav") -> NDArray[np.uint8]:
    with open_video(data, backend=backend) as video:
        return np.asarray(video.frames_at(range(video.num_frames)))


@pytest.mark.parametrize("name", MATRICES)
def test_a_display_matrix_turns_and_mirrors_in_builds_and_in_every_backend(name: str) -> None:
    matrix, shown_by_ffmpeg = MATRICES[name]
    data = with_matrix(make("h264"), matrix)
    expected = shown_by_ffmpeg(pixels(make("h264")))
    assert np.array_equal(read_clip(data, ClipRequest()).data, expected)
    for backend in BACKENDS:
        if load(backend).why_not("cpu") is None:
            assert np.array_equal(pixels(data, backend), expected), backend


def test_an_orientation_stated_by_the_first_frame_holds_for_all() -> None:
    # In the stream (SEI), as some cameras state it, and not in the container.
    file = io.BytesIO()
    with av.open(io.BytesIO(make("h264"))) as original, av.open(file, "w", format="mp4") as out:
        stream = original.streams.video[0]
        turning = BitStreamFilterContext("h264_metadata=display_orientation=insert:rotate=90", stream)
        copy = out.add_stream_from_template(stream)
        for packet in original.demux(stream):
            for turned in turning.filter(packet) if packet.size else ():
                turned.stream = copy
                out.mux(turned)
    expected = np.rot90(pixels(make("h264")), 1, axes=(1, 2))
    assert np.array_equal(read_clip(file.getvalue(), ClipRequest()).data, expected)
    assert np.array_equal(read_clip(file.getvalue(), ClipRequest(start_seconds=0.5)).data, expected[13:])
    for backend in BACKENDS:
        if load(backend).why_not("cpu") is None:
            assert np.array_equal(pixels(file.getvalue(), backend), expected), backend


@pytest.mark.parametrize("name", ["mirrored", "transposed"])
def test_an_orientation_comes_before_cropping(name: str) -> None:
    matrix, shown_by_ffmpeg = MATRICES[name]
    request = ClipRequest(size=24, num_frames=2)
    taken = read_clip(with_matrix(make("h264"), matrix), request)
    assert np.array_equal(taken.data, shown_by_ffmpeg(read_clip(make("h264"), request).data))


def test_a_slanted_or_empty_matrix_gives_the_nearest_orientation() -> None:
    assert Orientation.of_matrix(65536, 3000, -3000, 65536) == Orientation()
    assert Orientation.of_matrix(100, 65536, -65536, 100) == Orientation.of_exif(6)
    assert Orientation.of_matrix(0, 0, 0, 0) == Orientation()


@pytest.mark.parametrize("value", [0, 9, -1, 6.0, "6", None, (6,), b"\x06"])
def test_an_orientation_that_exif_does_not_know_is_upright(value: object) -> None:
    assert Orientation.of_exif(value) == Orientation()


@pytest.mark.parametrize(
    ("container", "codec"),
    # The ratio is in the container, in the codec, or in both.
    [("mp4", "libx264"), ("matroska", "libx264"), ("mov", "mpeg4"), ("mpegts", "mpeg2video"), ("avi", "mpeg4")],
)
def test_pixels_become_square(container: str, codec: str) -> None:
    data = anamorphic(Fraction(4, 3), container, codec)
    taken = read_clip(data, ClipRequest())
    assert taken.data.shape[1:] == (48, 85, 3)  # as ffmpeg's scale=iw*sar:ih
    original = taken.about["original"]
    assert (original["height"], original["width"], original["pixel_ratio"]) == (48, 85, "4:3")
    assert np.array_equal(pixels(data), taken.data)
    for backend in BACKENDS[1:]:
        if load(backend).why_not("cpu") is None:
            with pytest.raises(DecodeError, match=r"its pixels are not square \(4:3\); use backend='pyav'"):
                open_video(data, backend=backend)
    with open_video(data) as video:
        assert video.backend == "pyav"


def test_frames_are_scaled_once_from_the_coded_size() -> None:
    data = anamorphic(Fraction(16, 11))
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        expected = frame.reformat(93, 48, "rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
    assert np.array_equal(read_clip(data, ClipRequest(num_frames=1)).data[0], expected)


def test_narrow_pixels_make_a_narrower_frame() -> None:
    assert read_clip(anamorphic(Fraction(8, 9)), ClipRequest()).data.shape[1:] == (48, 56, 3)


@pytest.mark.parametrize(("resize", "black"), [("pad", 7), ("shorter", 0), ("squash", 0)])
def test_a_square_size_has_the_proportions_of_the_picture(resize: str, black: int) -> None:
    # 64x48 with pixels of 4:3 is 16:9: 32 wide and 18 high, 7 rows of black above and below.
    taken = read_clip(anamorphic(Fraction(4, 3)), ClipRequest(size=32, resize=resize)).data
    assert taken.shape[1:] == (32, 32, 3)
    rows = taken[0].any(axis=(1, 2))
    assert rows.argmax() == black
    assert rows.sum() == 32 - 2 * black


def test_a_turned_file_is_stretched_along_its_coded_width() -> None:
    data = with_matrix(anamorphic(Fraction(2)), (0, 1, -1, 0))
    assert read_clip(data, ClipRequest()).data.shape[1:] == (128, 48, 3)
    assert pixels(data).shape[1:] == (128, 48, 3)


@pytest.mark.parametrize("stated", [None, Fraction(0), Fraction(1000), Fraction(1, 9), Fraction(-4, 3), Fraction(1280, 1281)])
def test_a_missing_impossible_or_nearly_square_ratio_is_square(stated: Fraction | None) -> None:
    assert pixel_ratio(stated) == SQUARE


@pytest.mark.parametrize("second", [(48, 64), (32, 24), (64, 46), (128, 96)])
@pytest.mark.parametrize("fps", [None, 25.0])
def test_a_file_that_changes_its_size_gives_the_frames_before(second: tuple[int, int], fps: float | None) -> None:
    data = changing([(64, 48), second])
    taken = read_clip(data, ClipRequest(fps=fps)).data
    assert taken.shape == (5, 48, 64, 3)
    assert np.array_equal(taken, pixels(data))
    with pytest.raises(DecodeError, match=r"the size changes to \d+x\d+ before the clip starts"):
        read_clip(data, ClipRequest(start_seconds=0.28, fps=fps))
    for backend in BACKENDS[1:]:
        if load(backend).why_not("cpu") is None:
            with open_video(data, backend=backend) as video:
                assert video.num_frames == 5


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_a_broadcast_that_changes_its_pixel_ratio_gives_the_frames_before(codec: str) -> None:
    data = anamorphic(Fraction(4, 3), "mpegts", codec) + anamorphic(Fraction(16, 9), "mpegts", codec)
    taken = read_clip(data, ClipRequest())
    # Frames still in the decoder when the new ratio arrives count as changed.
    assert 2 <= taken.num_frames <= 4
    assert taken.about["original"]["pixel_ratio"] == "4:3"
    assert np.array_equal(taken.data, pixels(data))
