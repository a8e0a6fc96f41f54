"""PyAV decodes every frame of a file, or refuses it."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from t2vdata.errors import DecodeError
from t2vdata.media import decode
from t2vdata.media.decode import pyav
from t2vdata.media.encode import H264
from t2vdata.types import Frames


def ramp(channels: int, num_frames: int = 12) -> Frames:
    """Return a ramp that moves: 12 frames of 32 x 48, of another level in each."""
    t, y, x = np.mgrid[:num_frames, :32, :48]
    levels = np.stack([x * 4 + 5 * t, y * 6 + t, 250 - 3 * x], axis=-1).clip(0, 255).astype(np.uint8)
    return Frames(np.ascontiguousarray(levels[..., :channels]), 25.0)


@pytest.fixture(scope="module")
def grey() -> bytes:
    return H264(gop=4).encode(ramp(1)).data


@pytest.fixture(scope="module")
def colour() -> bytes:
    return H264(gop=4).encode(ramp(3)).data


def test_grey_is_the_luma_plane_spread_to_full_range(grey: bytes) -> None:
    data = pyav.decode(grey, channels=1)
    assert data.shape == (12, 32, 48, 1)
    with av.open(io.BytesIO(grey)) as container:
        luma = np.stack([frame.to_ndarray(format="yuv420p")[:32] for frame in container.decode(video=0)]).astype(float)
    assert np.abs(data[..., 0] - ((luma - 16) * 255 / 219).clip(0, 255)).max() <= 0.5
    assert np.abs(data.astype(int) - ramp(1).data).mean() < 2


def test_colour_is_pyavs_own_rgb24(colour: bytes) -> None:
    data = pyav.decode(colour, channels=3)
    with av.open(io.BytesIO(colour)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.array_equal(data, expected)
    assert np.abs(data.astype(int) - ramp(3).data).mean() < 4


def test_all_256_levels_come_back_within_one_of_their_limited_value() -> None:
    # Flat tiles of 16 x 16 pixels, so that nothing is lost to compression but the last digit.
    tiles = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(16, axis=0).repeat(16, axis=1)
    data = pyav.decode(H264(crf=1).encode(Frames(tiles[None, ..., None], 25.0)).data, channels=1)
    assert np.abs(data[0, ..., 0].astype(int) - tiles).max() <= 2
    assert (data[0, :16, :16] == 0).all()
    assert (data[0, -16:, -16:] == 255).all()


def test_the_extension_picks_the_decoder(grey: bytes) -> None:
    frames = decode.decode("mp4", grey, fps=25.0, channels=1)
    assert np.array_equal(frames.data, pyav.decode(grey, channels=1))
    assert frames.fps == 25.0


def test_widths_with_different_padding_decode_correctly() -> None:
    for width in (34, 50, 98):
        data = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, None, :, None], (2, 16, 1, 1))
        assert np.abs(pyav.decode(H264().encode(Frames(data, 25.0)).data, channels=1).astype(int) - data).mean() < 3


def test_timing_is_read_from_the_frames(grey: bytes) -> None:
    timing = pyav.read_timing(grey)
    numerator, denominator = map(int, timing.time_base.split("/"))
    assert [stamp * numerator / denominator for stamp in timing.pts] == pytest.approx([number / 25 for number in range(12)])
    assert timing.key_frames == (True, False, False, False) * 3


def test_a_file_cut_anywhere_is_refused(grey: bytes) -> None:
    survived = {}
    for cut in range(len(grey)):
        try:
            survived[cut] = len(pyav.decode(grey[:cut], channels=1))
        except DecodeError:
            continue
    assert survived == {}, "frames that decode from a file cut at these bytes"


@pytest.mark.parametrize(
    "data",
    [b"", b"just text, no video " * 50, bytes(5000), b"\0\0\0\x20ftypisom" + bytes(500), b"#EXTM3U\n/etc/passwd\n"],
    ids=["empty", "text", "zeros", "only ftyp", "playlist"],
)
@pytest.mark.parametrize("read", [lambda data: pyav.decode(data, channels=1), pyav.read_timing], ids=["decode", "timing"])
def test_anything_but_a_video_is_refused(data: bytes, read: object) -> None:
    with pytest.raises(DecodeError, match=r"\(FFmpeg\)|no video stream|no frame decodes"):
        read(data)  # type: ignore[operator]


def test_an_mp4_without_a_frame_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(DecodeError, match=r"no frame decodes|no video stream|\(FFmpeg\)"):
        pyav.decode(file.getvalue(), channels=1)


def test_an_mp4_with_only_sound_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="no video stream"):
        pyav.decode(file.getvalue(), channels=1)


def test_a_clip_of_too_many_pixels_is_refused(grey: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav, "MAX_PIXELS", 5 * 32 * 48)
    with pytest.raises(DecodeError, match="over 7680 pixels in one clip"):
        pyav.decode(grey, channels=1)


@pytest.mark.real
@pytest.mark.parametrize("name", ["mmaction2/part_0.mp4", "torchcodec/testsrc2_odd_width_vp9_10bit.mp4"])
def test_real_clips_decode_in_grey_and_in_colour(shared: Path, name: str) -> None:
    data = (shared / "data" / "real" / name).read_bytes()
    num_frames = len(pyav.read_timing(data).pts)
    assert num_frames >= 25
    rgb, luma = (pyav.decode(data, channels=channels) for channels in (3, 1))
    assert rgb.shape == (*luma.shape[:3], 3)
    assert len(rgb) == num_frames
    assert np.abs(rgb @ np.array([0.299, 0.587, 0.114]) - luma[..., 0]).mean() < 3


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["pymediainfo/mpeg4.mp4", "pymediainfo/empty.gif", "tracker-miners/mp4-video-without-audio.mp4"]
)
def test_real_files_without_a_video_are_refused(shared: Path, name: str) -> None:
    with pytest.raises(DecodeError, match=r"no video stream|\(FFmpeg\)"):
        pyav.decode((shared / "data" / "real" / name).read_bytes(), channels=3)
