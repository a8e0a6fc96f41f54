"""Encodings: lossless arrays that NumPy reads, and H.264 whose groups decode independently in any player."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
import zstandard
from av.video.frame import PictureType
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata import datasets
from t2vdata.errors import EncodeError, RequestError, UnknownNameError
from t2vdata.media import encode_h264
from t2vdata.media.decode import lossless
from t2vdata.media.encode import H264, Encoded, Lossless, encoding
from t2vdata.types import Frames


def digits(number: int = 0) -> Frames:
    """Return a clip of mnist-motion: 32 grey frames of 64 x 64."""
    dataset = datasets.open("mnist-motion")
    return dataset.render(dataset.clips("train")[number])


def colours(num_frames: int = 20, height: int = 32, width: int = 48, fps: float = 25.0) -> Frames:
    """Return smooth colours that move."""
    t, y, x = np.mgrid[:num_frames, :height, :width]
    return Frames(np.stack([x * 5 + t, y * 7, 255 - 3 * x - 2 * t], axis=-1).clip(0, 255).astype(np.uint8), fps)


@pytest.fixture(scope="module")
def grey() -> Encoded:
    return H264().encode(digits())


# Exact arrays


shapes = st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(shapes, st.integers(0, 2**32), st.sampled_from([1, 3, 9]))
def test_lossless_comes_back_bit_for_bit(shape: tuple[int, ...], seed: int, level: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    encoded = Lossless(level, level).encode(Frames(data, 30.0))
    assert np.array_equal(lossless.decode(encoded.data), data)
    assert encoded.num_frames == shape[0]
    assert (encoded.pts, encoded.key_frames, encoded.time_base) == (None, None, None)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (32, 64, 64, 1), (10, 20, 30, 3), (1000, 2, 2, 1), (1, 4096, 1, 3)])
def test_numpy_reads_what_zstandard_unpacks(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    content = zstandard.ZstdDecompressor().decompress(Lossless().encode(Frames(data, 30.0)).data)
    assert np.array_equal(np.load(io.BytesIO(content)), data)
    # The format wants pixels aligned to 64 bytes.
    assert (len(content) - data.size) % 64 == 0


def test_arrays_that_are_not_contiguous_are_written_in_order() -> None:
    data = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), np.uint8)[::2, :, ::-1]
    assert np.array_equal(lossless.decode(Lossless().encode(Frames(data, 30.0)).data), data)


def test_clips_of_the_same_shape_do_not_overwrite_each_other() -> None:
    first, second = digits(0), digits(1)
    first_bytes, second_bytes = (Lossless().encode(frames).data for frames in (first, second))
    assert np.array_equal(lossless.decode(first_bytes), first.data)
    assert np.array_equal(lossless.decode(second_bytes), second.data)


def test_lossless_gives_the_same_bytes_twice() -> None:
    assert Lossless().encode(digits()).data == Lossless().encode(digits()).data


# H.264


def boxes(data: bytes) -> Iterator[str]:
    """Yield the names of an MP4 file's outermost boxes."""
    offset = 0
    while offset < len(data):
        size, name = struct.unpack(">I4s", data[offset : offset + 8])
        yield name.decode()
        offset += size
    assert offset == len(data)


def stream_of(data: bytes) -> tuple[bytes, list[av.Packet]]:
    """Return the parameter sets of a video, and its packets in the order of the file."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.extradata, [packet for packet in container.demux(stream) if packet.size]


def decoded(data: bytes, pixels: str) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format=pixels) for frame in container.decode(video=0)]


def units(packet: av.Packet) -> list[int]:
    """Return the types of the NAL units in a packet."""
    content, offset, types = bytes(packet), 0, []
    while offset < len(content):
        types.append(content[offset + 4] & 31)
        offset += 4 + int.from_bytes(content[offset : offset + 4], "big")
    return types


@pytest.mark.parametrize("num_frames", [1, 2, 16, 17, 33])
def test_every_frame_is_in_the_file(num_frames: int) -> None:
    encoded = H264().encode(colours(num_frames))
    assert encoded.num_frames == num_frames == len(decoded(encoded.data, "rgb24"))
    assert encoded.pts is not None
    assert encoded.key_frames is not None
    assert len(encoded.pts) == len(encoded.key_frames) == num_frames


@pytest.mark.parametrize("fps", [1.0, 12.5, 25.0, 30.0, 30000 / 1001, 60.0])
def test_time_stamps_are_a_frame_apart(fps: float) -> None:
    encoded = H264().encode(colours(10, fps=fps))
    numerator, denominator = map(int, str(encoded.time_base).split("/"))
    seconds = [stamp * numerator / denominator for stamp in encoded.pts or ()]
    assert seconds == pytest.approx([number / fps for number in range(10)], abs=1e-4)
    assert seconds[0] == 0
    with av.open(io.BytesIO(encoded.data)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(seconds)
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=1e-5)


@pytest.mark.parametrize("gop", [1, 5, 16, 100])
@pytest.mark.parametrize("clip", [colours(40), digits()], ids=["colour", "grey"])
def test_there_is_a_key_frame_every_gop_frames_and_no_other(gop: int, clip: Frames) -> None:
    encoded = H264(gop=gop).encode(clip)
    assert encoded.key_frames == tuple(number % gop == 0 for number in range(clip.num_frames))


def test_a_cut_makes_no_extra_key_frame() -> None:
    data = colours(32).data.copy()
    data[20:] = 255 - data[20:]
    encoded = H264(gop=16).encode(Frames(data, 25.0))
    assert [number for number, is_key in enumerate(encoded.key_frames or ()) if is_key] == [0, 16]


@pytest.mark.parametrize("clip", [colours(40), digits()], ids=["colour", "grey"])
def test_each_group_decodes_alone(clip: Frames) -> None:
    encoded = H264(gop=8).encode(clip)
    all_frames = decoded(encoded.data, "yuv420p")
    extradata, packets = stream_of(encoded.data)
    groups = [packets[start : start + 8] for start in range(0, len(packets), 8)]
    assert len(groups) == clip.num_frames // 8
    for number, group in enumerate(groups):
        assert group[0].is_keyframe
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = extradata
        frames = [frame for packet in [*group, None] for frame in decoder.decode(packet)]
        assert len(frames) == 8
        for mine, theirs in zip(frames, all_frames[8 * number :], strict=False):
            assert np.array_equal(mine.to_ndarray(format="yuv420p"), theirs)


@pytest.mark.parametrize("clip", [colours(40), digits()], ids=["colour", "grey"])
def test_groups_are_closed_and_have_no_b_frames(clip: Frames) -> None:
    data = H264(gop=8).encode(clip).data
    _, packets = stream_of(data)
    assert all(packet.pts == packet.dts for packet in packets)
    # A unit of type 5 is an IDR picture: nothing after it refers to what is before it.
    assert all((5 in units(packet)) == (number % 8 == 0) for number, packet in enumerate(packets))
    with av.open(io.BytesIO(data)) as container:
        kinds = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    assert kinds == ["I" if number % 8 == 0 else "P" for number in range(clip.num_frames)]


def test_the_index_comes_before_the_pixels(grey: Encoded) -> None:
    names = list(boxes(grey.data))
    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


def test_the_file_is_tagged_with_its_colours(grey: Encoded) -> None:
    with av.open(io.BytesIO(grey.data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 64, 64)
        # Limited range, and BT.601 for matrix, primaries and transfer.
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 6, 6, 6)


@pytest.mark.parametrize("clip", [colours(), digits()], ids=["colour", "grey"])
def test_h264_gives_the_same_bytes_twice(clip: Frames) -> None:
    first, second = (H264().encode(clip) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("num_times", [50, pytest.param(2000, marks=pytest.mark.long)])
def test_h264_gives_the_same_bytes_wherever_its_buffers_lie(num_times: int) -> None:
    # With AVX-512, x264 gave other bytes from the 1,225th time on, and then for one clip in a hundred.
    clip = colours()
    assert len({encode_h264.mp4(clip, gop=16, crf=18) for _ in range(num_times)}) == 1


def test_the_file_contains_neither_writer_nor_time(grey: Encoded) -> None:
    assert b"Lavf" not in grey.data
    offset = grey.data.index(b"mvhd")
    assert grey.data[offset + 8 : offset + 16] == bytes(8)


@pytest.mark.parametrize("number", range(3))
def test_grey_levels_are_close_to_the_original(number: int) -> None:
    clip = digits(number)
    # The first 64 rows of a yuv420p array are the luma plane.
    luma = np.stack(decoded(H264().encode(clip).data, "yuv420p"))[:, :64].astype(float)
    levels = (luma - 16) * 255 / 219
    error = np.abs(levels - clip.data[..., 0])
    assert error.mean() < 0.5
    assert error.max() < 30


def test_black_and_white_are_kept() -> None:
    data = np.zeros((4, 16, 16, 1), np.uint8)
    data[:, :, 8:] = 255
    for frame in decoded(H264(crf=1).encode(Frames(data, 25.0)).data, "gray"):
        assert np.abs(frame.astype(int) - data[0, :, :, 0]).max() <= 1


@pytest.mark.parametrize(
    "colour",
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (0, 0, 0), (10, 120, 200), (128, 128, 128)],
)
def test_colours_are_close_to_the_original(colour: tuple[int, int, int]) -> None:
    data = np.tile(np.array(colour, np.uint8), (3, 16, 16, 1))
    for frame in decoded(H264().encode(Frames(data, 25.0)).data, "rgb24"):
        assert np.abs(frame.astype(int) - data[0]).max() <= 4


def test_moving_colours_are_close_to_the_original() -> None:
    clip = colours()
    error = np.abs(np.stack(decoded(H264().encode(clip).data, "rgb24")).astype(int) - clip.data)
    assert error.mean() < 4


def test_a_lower_crf_is_closer_to_the_original() -> None:
    clip = Frames(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), np.uint8), 25.0)
    fine, coarse = (
        np.abs(np.stack(decoded(H264(crf=crf).encode(clip).data, "gray")).astype(int) - clip.data[..., 0]).mean()
        for crf in (5, 40)
    )
    assert fine < coarse / 4


@pytest.mark.parametrize(("height", "width"), [(2, 2), (18, 34), (50, 70), (16, 98)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_even_size_is_encoded(height: int, width: int, channels: int) -> None:
    data = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, None, :, None], (3, height, 1, channels))
    frames = decoded(H264().encode(Frames(data, 25.0)).data, "rgb24")
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3
    # FFmpeg's lines are longer than the picture is wide; if they were shifted, this would be noise.
    assert np.abs(np.stack(frames).astype(int) - data).mean() < 8


@pytest.mark.parametrize(("height", "width"), [(31, 64), (64, 31), (1, 1)])
def test_an_odd_size_is_refused(height: int, width: int) -> None:
    message = f"h264 cannot hold {width}x{height}; choose an even size, or --encoding lossless"
    with pytest.raises(RequestError, match=message):
        H264().check(height, width)
    with pytest.raises(EncodeError, match=message):
        H264().encode(Frames(np.zeros((2, height, width, 1), np.uint8), 25.0))
    Lossless().check(height, width)


@pytest.mark.parametrize(("height", "width", "fitted"), [(31, 64, (30, 64)), (9, 31, (8, 30)), (5, 3, (4, 2)), (8, 8, (8, 8))])
def test_h264_drops_an_odd_row_and_column_that_other_encodings_keep(height: int, width: int, fitted: tuple[int, int]) -> None:
    data = np.arange(2 * height * width, dtype=np.uint8).reshape(2, height, width, 1)
    frames = Frames(data, 25.0, {"original": {"height": height}})
    result = H264().fit(frames)
    assert np.array_equal(result.data, data[:, : fitted[0], : fitted[1]])
    assert (result.fps, result.about) == (frames.fps, frames.about)
    assert H264().encode(result).num_frames == 2
    for encoding_with_any_size in (Lossless(), encoding("jpeg")):
        assert encoding_with_any_size.fit(frames) is frames


# Names and settings


def test_an_encoding_is_made_by_name() -> None:
    assert encoding("lossless") == Lossless()
    assert encoding("h264", gop=8, crf=23) == H264(8, 23)


def test_an_unknown_encoding_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"no encoding 'h265'; did you mean 'h264'\?"):
        encoding("h265")


@pytest.mark.parametrize(("name", "setting"), [("lossless", "gop"), ("lossless", "crf"), ("h264", "grey_level")])
def test_a_setting_of_another_encoding_is_refused(name: str, setting: str) -> None:
    with pytest.raises(RequestError, match=f"--{setting} does not apply to --encoding {name}"):
        encoding(name, **{setting: 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gop": 0}, r"a group of 0 frames \(--gop\); expected 1 or more"),
        ({"crf": -1}, r"a constant rate factor of -1 \(--crf\); expected 0 \(best\) to 51"),
        ({"crf": 52}, r"a constant rate factor of 52 \(--crf\)"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        H264(**values)


def test_an_identity_has_every_setting_that_changes_the_bytes() -> None:
    encodings = (Lossless(), Lossless(3), H264(), H264(gop=8), H264(crf=20))
    identities: list[dict[str, Any]] = [encoding.identity() for encoding in encodings]
    assert len({json.dumps(identity) for identity in identities}) == 5
    assert all(identity["library"] for identity in identities)
    assert (identities[0]["name"], identities[0]["grey_level"]) == ("lossless", -1)
    assert (identities[2]["name"], identities[2]["gop"], identities[2]["crf"]) == ("h264", 16, 18)
