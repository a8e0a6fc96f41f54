"""The last frame lasts as long as its file says, and so does the clip."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import numbered_files
from media.numbered_files import Kind, numbers_in
from PIL import Image

from t2vdata.errors import DecodeError
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video


def gif(milliseconds: list[int]) -> bytes:
    pictures = [Image.fromarray(np.ascontiguousarray(picture)) for picture in numbered_files.pictures(range(len(milliseconds)))]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds)
    return file.getvalue()


def slides(durations: list[int]) -> bytes:
    """Return an MP4 whose frames last so many tenths of a second."""
    stamps = [sum(durations[:number]) for number in range(len(durations))]
    kind = Kind("mp4", "libx264", {"preset": "ultrafast", "tune": "zerolatency"})
    return numbered_files.encode(kind, stamps, rate=Fraction(10), durations=durations)


@pytest.mark.parametrize("data", [gif([100, 100, 2000]), slides([1, 1, 20])], ids=["gif", "mp4"])
def test_the_last_frame_is_sampled_until_its_own_duration_ends(data: bytes) -> None:
    clip = read_clip(data, ClipRequest(fps=10.0, measures_seconds=True))
    assert numbers_in(clip.data) == [0, 1, *[2] * 20]
    assert clip.about["seconds"] == 2.2
    assert numbers_in(read_clip(data, ClipRequest(start_seconds=1.5, end_seconds=1.9)).data) == [2]
    with pytest.raises(DecodeError, match=r"no frame from 2\.3 s on: the file ends at 2\.2 s"):
        read_clip(data, ClipRequest(start_seconds=2.3))
    with open_video(data, backend="pyav") as video:
        assert video.end_seconds - video.seconds[0] == pytest.approx(2.2)


@pytest.mark.parametrize("data", [gif([2000, 100, 100]), slides([20, 1, 1])], ids=["gif", "mp4"])
def test_a_long_first_frame_does_not_lengthen_the_last(data: bytes) -> None:
    assert numbers_in(read_clip(data, ClipRequest(fps=10.0)).data) == [*[0] * 20, 1, 2]
    # Half the span lies in the first frame.
    clip = read_clip(data, ClipRequest(start_seconds=1.0, measures_seconds=True))
    assert (numbers_in(clip.data), clip.about["seconds"]) == ([1, 2], 1.2)


def test_the_longest_shot_of_a_variable_rate_is_measured_by_its_times() -> None:
    clip = read_clip(slides([5, 5, 5, 30]), ClipRequest(shot="longest", measures_seconds=True))
    assert clip.about["seconds"] in (4.5, 3.0, 1.5)


def test_a_file_that_ends_early_ends_with_its_last_frame(tmp_path: Path) -> None:
    data = slides([1] * 30)
    with pytest.raises(DecodeError, match=r"the file ends at 3 s"):
        read_clip(data, ClipRequest(start_seconds=3.0))
    assert numbers_in(read_clip(data, ClipRequest(start_seconds=2.9)).data) == [29]


def test_a_clip_says_when_its_frames_begin_and_end() -> None:
    data = slides([1, 1, 20, 5, 3])
    for request, span in (
        (ClipRequest(), (0.0, 3.0)),
        (ClipRequest(num_frames=2), (0.0, 0.2)),
        (ClipRequest(num_frames=2, measures_seconds=True), (0.0, 0.2)),
        (ClipRequest(fps=2.0, num_frames=3), (0.0, 1.5)),
        (ClipRequest(fps=2.0, num_frames=3, measures_seconds=True), (0.0, 1.5)),
        (ClipRequest(fps=2.0, start_seconds=1.8), (1.8, 3.0)),
        (ClipRequest(start_seconds=1.2, end_seconds=1.9), (1.2, 1.9)),
        (ClipRequest(num_frames=2, window=1, num_windows=2), (2.2, 3.0)),
    ):
        about = read_clip(data, request).about
        assert (about["start_seconds"], about["end_seconds"]) == span, request
