"""Which frame belongs to a time: the same rule in every container, at every rate, for spans, sampling and open_video."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from operator import sub

import pytest
from media import numbered_files
from media.numbered_files import Kind, numbers_in

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video

NUM_FRAMES = 30
RATES = {
    "23.976": Fraction(24000, 1001), "24": Fraction(24), "25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30),
    "50": Fraction(50), "59.94": Fraction(60000, 1001), "60": Fraction(60),
}  # fmt: skip
CONTAINERS = {
    "mp4": Kind("mp4", "libx264", {"preset": "ultrafast"}),
    "mkv": Kind("matroska", "mpeg4", {"bf": "2"}),
    "webm": Kind("webm", "libvpx", {"deadline": "realtime"}),
    "flv": Kind("flv", "libx264", {"preset": "ultrafast"}),
    "ts": Kind("mpegts", "mpeg2video", {"bf": "2"}),
    "avi": Kind("avi", "mpeg4", {"bf": "2"}),
    "gif": Kind("gif", "gif", pixel_format="rgb8"),
}
# FFmpeg, like browsers, shows a GIF's frame of 10 ms for 100 ms.
COMBINATIONS = [(container, rate) for container in CONTAINERS for rate in RATES if container != "gif" or RATES[rate] <= 50]
RATES_BY_DEFAULT = ("23.976", "29.97", "30", "60")
CASES = [
    pytest.param(container, rate, marks=[] if rate in RATES_BY_DEFAULT else [pytest.mark.long])
    for container, rate in COMBINATIONS
]


@functools.cache
def constant_rate(container: str, rate: str) -> bytes:
    return numbered_files.encode(CONTAINERS[container], range(NUM_FRAMES), rate=RATES[rate])


def numbers(data: bytes, **request: object) -> list[int]:
    return numbers_in(read_clip(data, ClipRequest(**request)).data)  # type: ignore[arg-type]


def cut(seconds: float) -> float:
    return math.floor(seconds * 1000) / 1000


@pytest.mark.parametrize(("container", "rate"), CASES)
def test_the_rate_of_the_file_gives_each_frame_once(container: str, rate: str) -> None:
    data, fps = constant_rate(container, rate), float(RATES[rate])
    assert numbers(data, fps=fps) == list(range(NUM_FRAMES))
    # As users write the rate.
    assert numbers(data, fps=float(rate)) == list(range(NUM_FRAMES))
    assert numbers(data, fps=fps / 2) == list(range(0, NUM_FRAMES, 2))


WRITTEN = {"exact": float, "rounded": lambda seconds: round(seconds, 3), "cut": cut}


def _spans() -> Iterator[object]:
    for container, rate in COMBINATIONS:
        for written in WRITTEN:
            is_long = rate not in RATES_BY_DEFAULT or (written != "exact" and rate != "29.97")
            yield pytest.param(container, rate, written, marks=[pytest.mark.long] if is_long else [])


@pytest.mark.parametrize(("container", "rate", "written"), list(_spans()))
def test_neighbouring_spans_share_no_frame_and_lose_none(container: str, rate: str, written: str) -> None:
    write = WRITTEN[written]
    data, fps = constant_rate(container, rate), float(RATES[rate])
    edges = [0, 1, 7, 13, 23, 30]
    for first, end in itertools.pairwise(edges):
        times = {"start_seconds": write(first / fps), "end_seconds": write(end / fps)}
        assert numbers(data, **times) == list(range(first, end))
        assert numbers(data, **times, fps=fps) == list(range(first, end))


@pytest.mark.parametrize(("container", "rate"), CASES)
def test_open_video_finds_a_frame_by_the_time_that_its_rate_gives(container: str, rate: str) -> None:
    with open_video(constant_rate(container, rate), backend="pyav") as video:
        times = [video.seconds[0] + number / float(RATES[rate]) for number in range(NUM_FRAMES)]
        assert numbers_in(video.frames_at_times(times)) == list(range(NUM_FRAMES))
        middles = [time + 0.5 / float(RATES[rate]) for time in times]
        assert numbers_in(video.frames_at_times(middles)) == list(range(NUM_FRAMES))


STAMPS = (0, 3, 4, 10, 30, 31, 90, 93)
"""Starts of frames in 1/30 s: a variable rate."""


@functools.cache
def variable_rate(container: str) -> bytes:
    stamps = [stamp * 2 if container == "gif" else stamp for stamp in STAMPS]
    return numbered_files.encode(
        CONTAINERS[container], stamps, rate=Fraction(30), durations=(*map(sub, stamps[1:], stamps), 60)
    )


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "flv", "ts", "gif"])
def test_variable_rates_show_each_frame_until_the_next(container: str) -> None:
    data, scale = variable_rate(container), 2 if container == "gif" else 1
    starts = [stamp * scale / 30 for stamp in STAMPS]
    for number, (start, end) in enumerate(itertools.pairwise(starts)):
        assert numbers(data, start_seconds=start, end_seconds=end) == [number]
        # Within a frame, that frame.
        assert numbers(data, start_seconds=start + 0.3 * (end - start), end_seconds=start + 0.6 * (end - start)) == [number]
    shown = [number for number, (start, end) in enumerate(itertools.pairwise(starts)) for _ in range(round((end - start) * 30))]
    assert numbers(data, fps=30.0, end_seconds=starts[-1]) == shown
    with open_video(data, backend="pyav") as video:
        times = [video.seconds[0] + number / 30 for number in range(len(shown))]
        assert numbers_in(video.frames_at_times(times)) == shown


@pytest.mark.parametrize(("container", "rate"), [("mp4", "30"), ("webm", "29.97"), ("ts", "23.976"), ("gif", "25")])
@pytest.mark.parametrize("fps", [None, 7.0])
def test_a_span_shorter_than_the_tolerance_has_the_frame_at_its_start(container: str, rate: str, fps: float | None) -> None:
    start = 12 / float(RATES[rate])
    for end in (start, start + 0.0002):
        assert numbers(constant_rate(container, rate), start_seconds=start, end_seconds=end, fps=fps) == [12]
