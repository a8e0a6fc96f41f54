"""HEIC pictures are whole and upright, as phones take them: in tiles, turned and mirrored."""

from __future__ import annotations

import numpy as np
import pytest
from media.heif_files import heic
from numpy.typing import NDArray

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.display_geometry import Orientation

TILE = (64, 64)


def picture(height: int = 120, width: int = 180) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2, columns, 255 - columns], axis=-1).astype(np.uint8)


def shown(data: bytes) -> NDArray[np.uint8]:
    taken = read_clip(data, ClipRequest(num_frames=4))
    assert taken.num_frames == 1
    assert taken.about["original"] == {"height": taken.height, "width": taken.width, "codec": "heic", "hdr": False}
    return taken.data[0]


def difference(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    assert left.shape == right.shape
    return float(np.abs(left.astype(int) - right).mean())


@pytest.mark.parametrize(("turns", "mirror"), [(0, None), (1, None), (2, None), (3, None), (0, 0), (0, 1), (1, 0), (3, 1)])
def test_tiles_become_one_upright_picture(turns: int, mirror: int | None) -> None:
    expected = np.rot90(picture(), turns)
    if mirror is not None:
        expected = np.flip(expected, mirror)
    assert difference(shown(heic(picture(), 2, 3, TILE, turns=turns, mirror=mirror)), expected) < 6


def test_a_picture_of_one_tile_is_a_picture_too() -> None:
    assert difference(shown(heic(picture(64, 64), 1, 1, TILE)), picture(64, 64)) < 6


@pytest.mark.parametrize("turns", [0, 1])
def test_a_picture_is_cropped_before_it_is_turned(turns: int) -> None:
    # 100x60 around a centre 10 pixels to the right of the middle, and 5.5 above it: columns 50 to 150, rows 24 to 84.5.
    data = heic(picture(), 2, 3, TILE, turns=turns, aperture=(100, 1, 60, 1, 10, 1, -11, 2))
    assert difference(shown(data), np.rot90(picture()[24:84, 50:150], turns)) < 6
    for aperture, message in (
        ((100, 1, 60, 1, 100, 1, 0, 1), "cropped beyond its edges"),
        ((0, 1, 60, 1, 0, 1, 0, 1), "no area"),
    ):
        with pytest.raises(DecodeError, match=message):
            read_clip(heic(picture(), 2, 3, TILE, aperture=aperture), ClipRequest())


def test_a_lost_tile_or_a_damaged_box_is_an_error_of_the_clip() -> None:
    data = heic(picture(), 2, 3, TILE)
    for damaged, message in (
        (data.replace(b"dimg\0\1\0\6", b"dimg\0\1\0\5"), "5 tiles for 3x2"),
        (data.replace(b"idat\0\0\1\2", b"idat\0\0\3\4"), "6 tiles for 5x4"),
        (data.replace(b"pitm\0\0\0\0\0\1", b"pitm\0\0\0\0\0\x63"), "damaged boxes"),
        (data.replace(b"grid", b"iovl"), "its primary item is b'iovl', expected hvc1 or grid"),
        (data[:-500], "Invalid data found when processing input"),
        (data[:200], "damaged boxes"),
    ):
        assert damaged != data
        with pytest.raises(DecodeError, match=message):
            read_clip(damaged, ClipRequest())
    with pytest.raises(DecodeError, match="180x120, over the limit of 100 pixels"):
        read_clip(data, ClipRequest(), max_pixels=100)


def test_open_video_refuses_pictures() -> None:
    with pytest.raises(DecodeError, match=r"no video container but a picture \(HEIC\); expected MP4"):
        open_video(heic(picture(), 2, 3, TILE))


@pytest.mark.parametrize("first", range(1, 9))
@pytest.mark.parametrize("second", range(1, 9))
def test_orientations_follow_one_another(first: int, second: int) -> None:
    frames = picture(3, 5)[None]
    before, after = Orientation.of_exif(first), Orientation.of_exif(second)
    assert np.array_equal(before.then(after).upright(frames), after.upright(before.upright(frames)))
