"""Clips as JPEG sheets."""

from __future__ import annotations

import io

import numpy as np
import pytest
from media import video_files
from PIL import Image

from t2vdata.errors import DecodeError, EncodeError, RequestError
from t2vdata.media import decode, jpeg_sheet
from t2vdata.media.decode import selected
from t2vdata.media.encode import Jpeg, encoding
from t2vdata.types import Frames


def clip(count: int, height: int = 48, width: int = 64, channels: int = 3) -> Frames:
    return Frames(np.ascontiguousarray(video_files.pictures(count, width, height)[..., :channels]), 10.0)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_frame_comes_back_in_its_place(count: int, channels: int) -> None:
    frames = clip(count, channels=channels)
    encoded = Jpeg(quality=95).encode(frames)
    back = decode.decode("jpg", encoded.data, fps=10.0, channels=channels)
    assert back.data.shape == frames.data.shape
    assert np.abs(back.data.astype(int) - frames.data).mean() < 4
    indices = np.array([count - 1, 0])
    assert (selected.decode("jpg", encoded.data, indices, channels=channels) == back.data[indices]).all()


def test_the_grid_is_nearly_square() -> None:
    assert [jpeg_sheet.grid(count) for count in (1, 2, 4, 5, 30, 32)] == [(1, 1), (1, 2), (2, 2), (2, 3), (5, 6), (6, 6)]


def test_the_same_frames_give_the_same_bytes() -> None:
    assert Jpeg().encode(clip(5)).data == Jpeg().encode(clip(5)).data
    assert "libjpeg-turbo" in Jpeg().identity()["library"]


def test_any_reader_of_jpeg_shows_the_sheet() -> None:
    with Image.open(io.BytesIO(Jpeg().encode(clip(5)).data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (3 * 64, 2 * 48))


def test_a_jpeg_that_is_not_a_sheet_is_one_frame() -> None:
    file = io.BytesIO()
    Image.new("L", (20, 10)).save(file, "JPEG")
    assert decode.decode("jpg", file.getvalue(), fps=1.0).data.shape == (1, 10, 20, 3)
    assert jpeg_sheet.num_channels(file.getvalue()) == 1


def test_every_change_and_every_cut_is_found() -> None:
    data = Jpeg().encode(clip(5)).data
    for offset in range(20, len(data), 37):
        changed = bytearray(data)
        changed[offset] ^= 0x10
        for bad in (bytes(changed), data[:offset]):
            with pytest.raises(DecodeError):
                jpeg_sheet.decode(bad, channels=3)


def test_a_sheet_too_large_for_jpeg_is_refused() -> None:
    with pytest.raises(EncodeError, match="a sheet of 70000x1 pixels; JPEG allows 65500"):
        Jpeg().encode(Frames(np.zeros((1, 1, 70_000, 3), np.uint8), 1.0))


def test_quality_is_checked() -> None:
    assert encoding("jpeg", quality=80) == Jpeg(80)
    with pytest.raises(RequestError, match=r"a JPEG quality of 0 \(--quality\); expected 1 to 100"):
        encoding("jpeg", quality=0)
    with pytest.raises(RequestError, match="--crf does not apply to --encoding jpeg"):
        encoding("jpeg", crf=3)
