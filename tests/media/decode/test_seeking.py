"""A clip that begins inside a file begins with the right frame, whatever the file says of its key frames."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from media import numbered_files
from media.numbered_files import KINDS, NUM_FRAMES, RATE
from numpy.typing import NDArray
from support import skip_or_fail

from t2vdata.errors import DecodeError
from t2vdata.media import timed_frames
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video, probe, random_access
from t2vdata.media.decode.backends import load

# Of the backends other than PyAV, which get copies of all but the first.
KINDS_BY_DEFAULT = ("closed", "open", "closed-fragments", "hevc-open", "intra-refresh", "no-key-table")
# Nothing to seek in, or too like another kind.
FROM_THE_START = ("mpegts", "mpeg-ps", "avi", "flv", "gif", "closed-mkv")
CANNOT = {("decord", "gif"): "decord does not decode gif"}


@functools.cache
def straight(name: str) -> NDArray[np.uint8]:
    return numbered_files.straight(numbered_files.make(name))


@pytest.mark.parametrize("name", KINDS)
def test_each_frame_of_the_files_carries_its_number(name: str) -> None:
    assert numbered_files.numbers_in(straight(name)) == list(range(NUM_FRAMES))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in FROM_THE_START else []) for name in KINDS]
)
def test_every_start_gives_the_frames_of_a_straight_decode(name: str) -> None:
    data, frames = numbered_files.make(name), straight(name)
    for start in range(NUM_FRAMES):
        span = ClipRequest(start_seconds=start / RATE or None, end_seconds=(start + 2) / RATE)
        assert np.array_equal(read_clip(data, span).data, frames[start : start + 2]), f"from frame {start}"


@pytest.mark.parametrize("name", ["open", "open-fragments", "hevc-open-mkv", "mpeg2-mov", "intra-refresh"])
def test_rates_and_windows_begin_with_the_same_frame_as_spans(name: str) -> None:
    data, frames = numbered_files.make(name), straight(name)
    for start in range(1, NUM_FRAMES - 10, 3):
        times = {"start_seconds": start / RATE, "end_seconds": (start + 9) / RATE}
        sampled = read_clip(data, ClipRequest(**times, fps=RATE / 2))
        assert np.array_equal(sampled.data, frames[start : start + 9 : 2]), f"from frame {start}"
        last = read_clip(data, ClipRequest(**times, num_frames=4, window=1, num_windows=2))
        assert np.array_equal(last.data, frames[start + 5 : start + 9]), f"from frame {start}"


@pytest.mark.parametrize("name", ["closed", "open", "hevc-open", "mpeg2-mov", "open-pyramid-mkv", "vp9"])
def test_a_late_start_decodes_no_more_than_two_groups(name: str) -> None:
    frames = timed_frames.stream(
        numbered_files.make(name), "mov" if KINDS[name].container in ("mp4", "mov") else "matroska", 2.0
    )
    assert 50 - 24 <= round(next(frames).seconds * RATE) <= 50


@pytest.mark.parametrize("name", ["intra-refresh", "no-key-table", "mpeg4-no-key-table"])
def test_a_seek_that_cannot_be_proven_is_an_error_of_its_own(name: str) -> None:
    with pytest.raises(random_access.SeekError):
        list(timed_frames.stream(numbered_files.make(name), "mov", 14 / RATE))


@pytest.mark.parametrize(
    "name", [*KINDS_BY_DEFAULT, *(pytest.param(name, marks=pytest.mark.long) for name in KINDS if name not in KINDS_BY_DEFAULT)]
)
@pytest.mark.parametrize("backend", ["pyav", "torchcodec", "decord", "opencv"])
def test_every_index_gives_the_same_frame_in_every_backend(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = load(backend).why_not("cpu")
    if reason:
        skip_or_fail(f"{backend}: {reason}")
    # As for a large file, of which no decoded frame is kept.
    monkeypatch.setattr(probe, "KEEP_PIXELS", 0)
    frames = straight(name)
    if (backend, name) in CANNOT:
        with pytest.raises(DecodeError, match=CANNOT[backend, name]):
            open_video(numbered_files.make(name), backend=backend)
        return
    with open_video(numbered_files.make(name), backend=backend) as video:
        assert video.num_frames == NUM_FRAMES
        # Backwards and forwards, in steps that leave groups out.
        for index in (*range(NUM_FRAMES - 1, -1, -7), *range(0, NUM_FRAMES, 5), 13, 12, 11, 24, 23, 35, 36, 47):
            taken = video.frames_at([index])
            assert np.abs(taken[0].astype(int) - frames[index]).mean() < 4, f"frame {index}"
        assert numbered_files.numbers_in(video.frames_at(range(NUM_FRAMES - 1, -1, -1))) == list(range(NUM_FRAMES - 1, -1, -1))


def test_files_are_read_alike_from_a_path_bytes_and_an_open_file(tmp_path: object) -> None:
    data, frames = numbered_files.make("open"), straight("open")
    for start in (11, 12, 13, 23):
        request = ClipRequest(start_seconds=start / RATE, num_frames=3)
        assert np.array_equal(read_clip(io.BufferedReader(io.BytesIO(data)), request).data, frames[start : start + 3])


@pytest.mark.parametrize("name", ["closed", "vp9", "open", "hevc-open-mkv", "no-key-table", "mpeg2-mov", "closed-fragments"])
def test_counting_packets_alone_believes_only_closed_groups(name: str) -> None:
    counted = probe.probe(numbered_files.make(name), decodes=False)
    decoded = probe.probe(numbered_files.make(name))
    # Whether frames were decoded.
    assert (counted.order == ()) == (name in ("closed", "vp9"))
    assert counted.seconds == decoded.seconds
    assert counted.is_plain == decoded.is_plain
    assert counted.closed_packets == decoded.closed_packets
