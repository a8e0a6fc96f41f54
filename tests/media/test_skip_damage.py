"""``skips_damage`` reads on after damage from the next key frame; without it, the frames before the damage count."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
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


@pytest.fixture(scope="module")
def large_frames() -> bytes:
    """Return a transport stream of 30 frames, each of many packets of 188 bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=25, options=STREAM.encoder)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.thread_count = 160, 120, "yuv420p", 1
        noise = np.random.default_rng(0).integers(0, 64, (30, 120, 160, 3), np.uint8)
        for picture in video_files.scene(1, 30, width=160, height=120) // 2 + noise:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def without_the_end_of(data: bytes, frame: int) -> bytes:
    """Return a transport stream that has lost the last packet of 188 bytes of a frame."""
    headers = range(0, len(data), 188)
    # FFmpeg gives the first stream the number 256.
    video = [header for header in headers if int.from_bytes(data[header + 1 : header + 3]) & 0x1FFF == 256]
    starts = [number for number, header in enumerate(video) if data[header + 1] & 0x40]
    last = video[starts[frame + 1] - 1]
    return data[:last] + data[last + 188 :]


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


def test_a_key_frame_that_lost_bytes_is_not_taken_for_the_next_sound_one(large_frames: bytes) -> None:
    # FFmpeg marks the packet before the one that lost bytes.
    sound = read_clip(large_frames, ClipRequest()).data
    lost = read_clip(without_the_end_of(large_frames, 10), ClipRequest(skips_damage=True)).data
    assert len(lost) >= 19
    for number, frame in enumerate(lost[-10:]):
        assert np.array_equal(frame, sound[20 + number])
    assert all(any(np.array_equal(frame, other) for other in sound) for frame in lost)


@pytest.mark.parametrize("frame", [9, 19])
def test_a_frame_that_lost_bytes_before_a_key_frame_is_not_taken_for_a_join(large_frames: bytes, frame: int) -> None:
    files = large_frames, without_the_end_of(large_frames, frame)
    sound, lost = (read_clip(file, ClipRequest()).data for file in files)
    assert frame - 1 <= len(lost) <= frame
    assert np.array_equal(lost, sound[: len(lost)])
