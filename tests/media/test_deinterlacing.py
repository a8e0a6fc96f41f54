"""Interlaced frames become whole pictures on request, one for one."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest

NUM_FRAMES = 8


def moving_bar(*, is_interlaced: bool, container: str = "mpegts") -> bytes:
    """Return frames of a bar that moves; if they are interlaced, it moves between the fields too, and its edges are combs."""
    options = {"b": "6M", **({"flags": "+ildct+ilme"} if is_interlaced else {})}
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(NUM_FRAMES):
            picture = np.full((48, 64, 3), 30, np.uint8)
            picture[0::2, 4 * number : 4 * number + 16] = 220
            picture[1::2, 4 * number + 2 * is_interlaced : 4 * number + 16 + 2 * is_interlaced] = 220
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def combing(data: bytes, **request: object) -> float:
    """Return the mean difference of neighbouring rows, away from the upper and lower edge."""
    frames = read_clip(data, ClipRequest(**request)).data.astype(int)
    return float(np.abs(np.diff(frames[:, 8:40], axis=1)).mean())


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_combs_go_and_every_frame_stays(container: str) -> None:
    data = moving_bar(is_interlaced=True, container=container)
    assert combing(data) > 5
    assert combing(data, deinterlaces=True) < 1
    taken = read_clip(data, ClipRequest(deinterlaces=True))
    assert taken.num_frames == NUM_FRAMES
    # The bar of the first field is where it was.
    assert taken.data[5, 24, 20 + 8].min() > 180
    assert (
        read_clip(data, ClipRequest(deinterlaces=True, fps=50.0)).num_frames
        == read_clip(data, ClipRequest(fps=50.0)).num_frames
    )


def test_progressive_files_are_unchanged() -> None:
    data = moving_bar(is_interlaced=False)
    expected = read_clip(data, ClipRequest()).data
    assert np.array_equal(read_clip(data, ClipRequest(deinterlaces=True)).data, expected)


def test_a_single_interlaced_frame_is_a_whole_picture() -> None:
    data = moving_bar(is_interlaced=True)
    taken = read_clip(data, ClipRequest(deinterlaces=True, num_frames=1))
    assert taken.num_frames == 1
    assert combing(data, deinterlaces=True, num_frames=1) < 1


def test_tiny_frames_are_unchanged() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2, 2, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((2, 2, 3), 90, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    assert read_clip(file.getvalue(), ClipRequest(deinterlaces=True)).data.shape == (1, 2, 2, 3)
