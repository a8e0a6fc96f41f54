"""The fast decoder of our own MP4 files gives the pixels of PyAV, or leaves the file to PyAV."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from media import numbered_files, video_files

from t2vdata.errors import DecodeError
from t2vdata.media.decode import fast_mp4, mp4, pyav, selected
from t2vdata.media.encode import H264
from t2vdata.types import Frames


def clip(num_frames: int = 40, height: int = 34, width: int = 44, channels: int = 3, gop: int = 8) -> bytes:
    frames = video_files.pictures(num_frames, width, height)
    return H264(gop=gop).encode(Frames(np.ascontiguousarray(frames[..., :channels]), 25.0)).data


@pytest.fixture(scope="module")
def ours() -> bytes:
    return clip()


def test_pixels_equal_those_of_pyav(ours: bytes) -> None:
    frames_fast = fast_mp4.decode(ours, None, channels=3)
    assert frames_fast is not None
    assert np.array_equal(frames_fast, pyav.decode(ours, channels=3))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (18, 130), (64, 64), (66, 46), (320, 480)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_even_size_comes_out_as_from_pyav(height: int, width: int, channels: int) -> None:
    data = clip(9, height, width, channels)
    frames_fast = fast_mp4.decode(data, None, channels=channels)
    assert frames_fast is not None
    assert np.array_equal(frames_fast, pyav.decode(data, channels=channels))


def test_more_pixels_than_are_converted_at_once() -> None:
    data = clip(20, 320, 480)
    assert 20 * 320 * 480 > 2 * (1 << 20)
    assert np.array_equal(fast_mp4.decode(data, None, channels=3), pyav.decode(data, channels=3))


@pytest.mark.parametrize(
    "frames", [[0], [39], [7, 8], [30, 3, 3, 17], list(range(39, -1, -1)), [9, 10, 11], list(range(0, 40, 5))]
)
def test_any_frames_in_any_order(ours: bytes, frames: list[int]) -> None:
    all_frames = pyav.decode(ours, channels=3)
    out = np.zeros((len(frames), 34, 44, 3), np.uint8)
    frames_fast = fast_mp4.decode(ours, frames, channels=3, out=out)
    assert frames_fast is out
    assert np.array_equal(out, all_frames[frames])
    assert np.array_equal(fast_mp4.decode(ours, frames, channels=3), all_frames[frames])


def test_only_the_needed_groups_are_decoded(ours: bytes) -> None:
    packets = mp4.find_packets(ours)
    assert packets is not None
    assert list(packets.key_frames) == [0, 8, 16, 24, 32]
    # Packets of other groups may be of any content.
    data = bytearray(ours)
    for number in (0, 5, 12, 38):
        data[packets.offsets[number] : packets.offsets[number] + packets.sizes[number]] = bytes(packets.sizes[number])
    frames_fast = fast_mp4.decode(bytes(data), [17, 20, 33], channels=3)
    assert np.array_equal(frames_fast, pyav.decode(ours, channels=3)[[17, 20, 33]])


def test_an_out_of_another_shape_is_left_unchanged(ours: bytes) -> None:
    out = np.zeros((40, 10, 10, 3), np.uint8)
    frames_fast = fast_mp4.decode(ours, None, channels=3, out=out)
    assert frames_fast is not out
    assert not out.any()


@pytest.mark.parametrize("name", [name for name in video_files.NAMES if name not in ("h264", "sound", "one-frame")])
def test_files_of_another_kind_are_left_to_pyav(name: str) -> None:
    assert fast_mp4.decode(video_files.make(name), None, channels=3) is None


@pytest.mark.parametrize("name", ["h264", "one-frame"])
def test_files_of_others_that_look_like_ours_have_the_pixels_of_pyav(name: str) -> None:
    data = video_files.make(name)
    frames_fast = fast_mp4.decode(data, None, channels=3)
    assert frames_fast is None or np.array_equal(frames_fast, pyav.decode(data, channels=3))


def test_a_decoder_is_used_again_and_keeps_nothing_of_the_last_clip() -> None:
    clips = [clip(12), clip(30), clip(12, gop=12), clip(5, 20, 20), clip(12)]
    want = [pyav.decode(data, channels=3) for data in clips]
    for number in (0, 1, 2, 3, 4, 3, 1, 0):
        # Not to its end, so that the next one finds a decoder in the middle of a group.
        fast_mp4.decode(clips[number], [2], channels=3)
        assert np.array_equal(fast_mp4.decode(clips[number], None, channels=3), want[number])


def test_threads_do_not_disturb_one_another() -> None:
    clips = [clip(20), clip(12, 20, 20), clip(16)]
    want = [pyav.decode(data, channels=3) for data in clips]
    with ThreadPoolExecutor(4) as pool:
        for number, frames_fast in enumerate(pool.map(lambda n: fast_mp4.decode(clips[n % 3], None, channels=3), range(60))):
            assert np.array_equal(frames_fast, want[number % 3])


def test_a_damaged_packet_is_an_error_and_the_next_clip_is_whole(ours: bytes) -> None:
    packets = mp4.find_packets(ours)
    assert packets is not None
    data = bytearray(ours)
    data[packets.offsets[9] : packets.offsets[9] + packets.sizes[9]] = b"\x7f" * packets.sizes[9]
    with pytest.raises(DecodeError, match=r"FFmpeg|is damaged"):
        fast_mp4.decode(bytes(data), None, channels=3)
    assert np.array_equal(fast_mp4.decode(ours, None, channels=3), pyav.decode(ours, channels=3))


@pytest.mark.parametrize("kept", [0, 7, 40, 600, 1200, 2000])
def test_a_file_that_is_cut_short_ends_in_the_error_of_pyav(ours: bytes, kept: int) -> None:
    assert fast_mp4.decode(ours[:kept], None, channels=3) is None
    with pytest.raises(DecodeError):
        selected.decode("mp4", ours[:kept], range(40), channels=3)


def test_any_byte_may_be_wrong(ours: bytes) -> None:
    generator = np.random.default_rng(0)
    all_frames = pyav.decode(ours, channels=3)
    num_errors = 0
    for _ in range(300):
        data = bytearray(ours)
        # Of the boxes at the front, which say where everything lies.
        data[generator.integers(0, 1400)] = generator.integers(0, 256)
        try:
            frames_fast = selected.decode("mp4", bytes(data), range(40), channels=3)
        except DecodeError:
            num_errors += 1
        else:
            assert frames_fast.shape[0] == len(all_frames)
    assert num_errors > 20


def test_a_frame_beyond_the_end_is_an_error(ours: bytes) -> None:
    with pytest.raises(DecodeError, match="no frame 40: the file has 40"):
        fast_mp4.decode(ours, [3, 40], channels=3)


def test_offsets_are_those_of_the_container(ours: bytes) -> None:
    packets = mp4.find_packets(ours)
    assert packets is not None
    with av.open(io.BytesIO(ours)) as container:
        want = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    assert list(zip(packets.offsets, packets.sizes, strict=True)) == want


def box(name: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), name) + content


def with_tables(sizes: Sequence[int], chunks: Sequence[int], runs: Sequence[tuple[int, int]]) -> bytes:
    """Return an MP4 file of one track with these tables of packets, which are zeros."""
    track_header = bytes(40) + struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30) + bytes(8)
    table = box(
        b"stbl",
        box(b"stsd", bytes(8), box(b"avc1", bytes(78), box(b"avcC", b"settings"))),
        box(b"stsz", struct.pack(f">III{len(sizes)}I", 0, 0, len(sizes), *sizes)),
        box(b"stco", struct.pack(f">II{len(chunks)}I", 0, len(chunks), *chunks)),
        box(b"stsc", struct.pack(">II", 0, len(runs)), *(struct.pack(">III", *run, 1) for run in runs)),
    )
    movie = box(b"moov", box(b"trak", box(b"tkhd", track_header), box(b"mdia", box(b"minf", table))))
    return movie + box(b"mdat", bytes(sum(sizes)))


def test_tables_of_chunks_are_walked_once() -> None:
    first = len(with_tables([4, 6, 5], [0, 0], [(1, 2), (2, 1)])) - 15
    packets = mp4.find_packets(with_tables([4, 6, 5], [first, first + 10], [(1, 2), (2, 1)]))
    assert packets is not None
    assert packets.offsets == [first, first + 4, first + 10]
    # Each pair of runs would visit all chunks again: ten billion steps.
    count = 100_000
    data = with_tables([4], [0] * count, [(1, 0), (count, 0)] * (count // 2))
    assert mp4.find_packets(data) is None
    assert mp4.find_packets(with_tables([4], [first], [(0, 1)])) is None
    assert mp4.find_packets(with_tables([4], [first], [])) is None


def test_packets_that_share_bytes_are_left_to_pyav(ours: bytes) -> None:
    # Else a small file could hold a million frames.
    packets = mp4.find_packets(ours)
    assert packets is not None
    chunks = ours.index(b"stco") + 12
    assert mp4.find_packets(ours[:chunks] + struct.pack(">I", len(ours)) + ours[chunks + 4 :]) is None
    sizes = ours.index(b"stsz") + 16
    assert mp4.find_packets(ours[:sizes] + bytes(4) + ours[sizes + 4 :]) is None


@pytest.mark.parametrize("options", ["keyint=8:bframes=0:scenecut=0:ref=1", "keyint=8:bframes=0:intra-refresh=1"])
def test_frames_that_only_the_table_calls_key_frames_are_decoded_by_pyav(options: str) -> None:
    kind = numbered_files.Kind("mp4", "libx264", {"x264-params": options, "preset": "veryfast"})
    data = numbered_files.encode(kind, range(30), rate=Fraction(25)).replace(b"stss", b"free")
    all_frames = pyav.decode(data, channels=3)
    for frames in ([17], [9, 3], [29, 0, 12]):
        assert np.array_equal(selected.decode("mp4", data, np.array(frames), channels=3), all_frames[frames])


def test_a_clip_of_too_many_pixels_is_refused_before_it_takes_memory(ours: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_mp4, "MAX_PIXELS", 39 * 34 * 44)
    with pytest.raises(DecodeError, match="40 frames of 44x34, over the limit of 58344 pixels"):
        fast_mp4.decode(ours, None, channels=3)
