"""``skips_damage`` reads on after damage from the next key frame; without it, the frames before the damage count."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
from media import numbered_files, video_files
from media.numbered_files import Kind, numbers_in

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest

CLOSED = Kind("mp4", "libx264", {"x264-params": "keyint=10:scenecut=0:bframes=0", "crf": "5"})
OPEN = Kind("mp4", "libx264", {"x264-params": "keyint=10:min-keyint=5:scenecut=0:bframes=2:open-gop=1", "crf": "5"})
STREAM = Kind("mpegts", "libx264", {"x264-params": "keyint=10:scenecut=0:bframes=0", "crf": "5"})


def encode(kind: Kind) -> bytes:
    return numbered_files.encode(kind, range(50), rate=Fraction(25))


def numbers(data: bytes, **request: object) -> list[int]:
    return numbers_in(read_clip(data, ClipRequest(**request)).data)  # type: ignore[arg-type]


def without_a_packet(data: bytes, frame: int) -> bytes:
    """Return a transport stream that has lost one packet of 188 bytes of a frame."""
    with av.open(io.BytesIO(data)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][frame]
    return data[:position] + data[position + 188 :]


def test_a_lost_packet_of_a_transport_stream_costs_its_group_alone() -> None:
    lost = without_a_packet(encode(STREAM), 12)
    before = numbers(lost)
    assert before == list(range(len(before)))
    assert len(before) <= 13
    after = numbers(lost, skips_damage=True)
    assert after[: len(before)] == before
    assert after[-30:] == list(range(20, 50))
    # Frames keep their times: the last one before the gap is shown until the next.
    sampled = numbers(lost, skips_damage=True, fps=25.0)
    assert sampled == [*before, *[before[-1]] * (20 - len(before)), *range(20, 50)]


@pytest.mark.parametrize("kind", [CLOSED, OPEN], ids=["closed groups", "open groups"])
def test_a_refused_packet_of_an_mp4_costs_its_group_alone(kind: Kind) -> None:
    damaged = video_files.damaged_at(encode(kind), 13)
    before = numbers(damaged)
    assert before == list(range(len(before)))
    assert 10 <= len(before) <= 13
    after = numbers(damaged, skips_damage=True)
    assert after[: len(before)] == before
    # Of an open group, not the frames before its key frame.
    assert after[len(before) :] == list(range(20, 50))


def test_damage_before_any_frame_and_after_the_last_key_frame() -> None:
    data = encode(CLOSED)
    assert numbers(video_files.damaged_at(data, 0), skips_damage=True)[:3] == [10, 11, 12]
    assert numbers(video_files.damaged_at(data, 43), skips_damage=True) == list(range(43))
    assert numbers(data, skips_damage=True) == list(range(50))
