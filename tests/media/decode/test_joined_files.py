"""Files joined byte by byte give the frames of all their parts, one after the other, as FFmpeg does."""

from __future__ import annotations

import dataclasses
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


def counted_from(data: bytes, first: int) -> bytes:
    """Return a transport stream whose packet counters begin at another number."""
    packets = bytearray(data)
    for header in range(3, len(packets), 188):
        packets[header] = packets[header] & 0xF0 | (packets[header] + first) & 0xF
    return bytes(packets)


@pytest.mark.parametrize("first", [0, NUM_FRAMES, 3600 * RATE], ids=["anew", "as segments of a live stream", "after a leap"])
@pytest.mark.parametrize("name", ["mpegts", "closed", "mpeg2-mov"])
@pytest.mark.parametrize("skips_damage", [False, True])
def test_packet_counters_that_begin_anew_where_transport_streams_were_joined_are_no_damage(
    name: str, first: int, skips_damage: bool
) -> None:
    kind = dataclasses.replace(KINDS[name], container="mpegts", muxer={})
    parts = [numbered_files.encode(kind, range(start, start + NUM_FRAMES), rate=Fraction(RATE)) for start in (0, first)]
    data = parts[0] + counted_from(parts[1], 5)
    assert numbers_in(read_clip(data, ClipRequest(skips_damage=skips_damage)).data) == TWICE


def test_joined_matroska_files_have_the_times_of_both() -> None:
    data = part("open-pyramid-mkv", first=0) * 2
    clip = read_clip(data, ClipRequest(measures_seconds=True))
    assert (numbers_in(clip.data), clip.about["seconds"]) == (TWICE, 2 * NUM_FRAMES / RATE)
    assert numbers_in(read_clip(data, ClipRequest(start_seconds=55 / RATE, end_seconds=65 / RATE)).data) == TWICE[55:65]


@pytest.mark.parametrize("moov", ["empty_moov+", ""], ids=["fragments", "a movie and fragments"])
def test_a_seek_does_not_end_where_joined_fragments_begin_their_clock_anew(moov: str) -> None:
    kind = dataclasses.replace(KINDS["closed"], muxer={"movflags": f"frag_keyframe+{moov}default_base_moof"})
    data = numbered_files.encode(kind, range(NUM_FRAMES), rate=Fraction(RATE))
    # Fragments alone, without the header, as a downloader of segments appends them.
    joined = data + data[data.index(b"moof") - 4 : data.index(b"mfra") - 4]
    straight = numbers_in(read_clip(joined, ClipRequest()).data)
    assert len(straight) > NUM_FRAMES
    with open_video(joined, backend="pyav") as video:
        for number in range(1, len(straight) - 1, 7):
            start = video.seconds[number] - video.seconds[0]
            assert (
                numbers_in(read_clip(joined, ClipRequest(start_seconds=start, num_frames=2)).data)
                == straight[number : number + 2]
            )


def test_a_clock_that_leaps_by_days_continues_where_it_was() -> None:
    stamps = [*range(10), *(40 * 3600 * RATE + number for number in range(10))]
    data = numbered_files.encode(Kind("flv", "flv"), stamps, rate=Fraction(RATE))
    clip = read_clip(data, ClipRequest(measures_seconds=True))
    assert (numbers_in(clip.data), clip.about["seconds"]) == (list(range(20)), 20 / RATE)


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
