"""Files joined byte by byte give the frames of all their parts, one after the other, as FFmpeg does."""

from __future__ import annotations

from fractions import Fraction

import pytest
from media import numbered_files
from media.numbered_files import KINDS, NUM_FRAMES, RATE, Kind, numbers_in

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.decode.clock import PacketClock

TWICE = [*range(NUM_FRAMES), *range(NUM_FRAMES)]


def part(name: str, *, first: int) -> bytes:
    """Return a file whose clock begins at a frame's time."""
    return numbered_files.encode(KINDS[name], range(first, first + NUM_FRAMES), rate=Fraction(RATE))


@pytest.mark.parametrize("name", ["mpeg-ps", "mpegts"])
@pytest.mark.parametrize("first", [0, 20, 3600 * RATE], ids=["anew", "again", "after a leap"])
def test_the_clock_of_a_joined_file_continues_where_the_part_before_ended(name: str, first: int) -> None:
    data = part(name, first=0) + part(name, first=first)
    assert numbers_in(read_clip(data, ClipRequest()).data) == TWICE
    assert numbers_in(read_clip(data, ClipRequest(fps=float(RATE))).data) == TWICE
    span = ClipRequest(start_seconds=55 / RATE, end_seconds=65 / RATE, measures_seconds=True)
    assert numbers_in(read_clip(data, span).data) == TWICE[55:65]
    clip = read_clip(data, ClipRequest(measures_seconds=True))
    assert clip.about["seconds"] == 2 * NUM_FRAMES / RATE
    with open_video(data) as video:
        assert video.seconds[-1] - video.seconds[0] == pytest.approx((2 * NUM_FRAMES - 1) / RATE)
        assert numbers_in(video.frames_at([119, 60, 59, 0])) == [59, 0, 59, 0]


def test_a_gap_of_some_seconds_is_kept() -> None:
    stamps = [*range(30), *range(30 + 5 * RATE, 60 + 5 * RATE)]
    data = numbered_files.encode(Kind("mpegts", "mpeg2video", {"bf": "2"}), stamps, rate=Fraction(RATE))
    clip = read_clip(data, ClipRequest(measures_seconds=True))
    assert numbers_in(clip.data) == list(range(60))
    assert clip.about["seconds"] == (60 + 5 * RATE) / RATE
    assert numbers_in(read_clip(data, ClipRequest(start_seconds=6.2, end_seconds=6.28)).data) == [30, 31]


def test_parts_are_told_by_the_time_of_decoding_and_frames_within_them_by_their_own() -> None:
    clock = PacketClock("mpegts", Fraction(1, 10))
    for pts, dts in [(1, 0), (4, 1), (2, 2), (3, 3), (1, 0), (3, 1), (2, 2)]:
        clock.add(pts, dts, 1)
    assert clock.parts == [0, 0, 0, 0, 1, 1, 1]
    # The second part begins where the first ends: at 5.
    assert clock.shown([0, 2, 3, 1, 4, 6, 5]) == [1, 2, 3, 4, 5, 6, 7]
    clock.add(None, None, 1)
    assert clock.shown([0, 7]) is None
