"""Every backend gives the same frames of the same files."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import numbered_files, video_files
from media.numbered_files import KINDS, numbers_in
from media.video_files import NAMES, RATE, make, source, times
from numpy.typing import NDArray
from support import skip_or_fail

from t2vdata.errors import DecodeError, RequestError, UnknownNameError
from t2vdata.media.decode import containers, open_video, opening, probe
from t2vdata.media.decode.backends import BACKENDS, load
from t2vdata.media.encode import Lossless
from t2vdata.types import Frames

VIDEO_BACKENDS = ("pyav", "torchcodec", "decord", "opencv")

# What a backend cannot decode is asserted, not skipped.
CANNOT = {
    ("decord", "av1"): "decord does not decode libdav1d; use backend='pyav'",
    ("decord", "gif"): "decord does not decode gif; use backend='pyav'",
    ("opencv", "av1"): "OpenCV has no decoder for libdav1d on the CPU; use backend='pyav'",
}

# Mean difference to PyAV's frames, of 255. Colour between the samples of 4:2:0 is interpolated, and FFmpeg 4.1 (decord), 5.1
# (the machine's, torchcodec) and 8 interpolate differently where the fast path does not apply.
SAME, LIKE = 0.0, 4.0
TOLERANCE = {"10-bit": LIKE, "odd-size-420": LIKE}

# Mean difference to the pictures that were encoded: coding is lossy, and a GIF has 256 colours.
LOSS = {"gif": 20.0, "grey": 26.0}


@pytest.fixture(params=VIDEO_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return usable(request.param)


def usable(name: str) -> str:
    reason = load(name).why_not("cpu")
    if reason:
        skip_or_fail(f"{name}: {reason}")
    return name


@functools.cache
def file(name: str) -> bytes:
    return make(name)


@functools.cache
def expected(name: str) -> NDArray[np.uint8]:
    with open_video(file(name), backend="pyav") as opened:
        return opened.frames_at(range(opened.num_frames))


@pytest.mark.parametrize("name", NAMES)
def test_backends_agree(backend: str, name: str) -> None:
    if (backend, name) in CANNOT:
        with pytest.raises(DecodeError) as caught:
            open_video(file(name), backend=backend)
        assert str(caught.value) == CANNOT[backend, name]
        return
    frames = expected(name)
    with open_video(file(name), backend=backend) as opened:
        assert (opened.backend, opened.device) == (backend, "cpu")
        assert opened.num_frames == len(times(name)) == len(frames)
        starts = np.array(opened.seconds) - opened.seconds[0]
        assert np.abs(starts - np.array(times(name)) / RATE).max() < 0.0006  # Matroska counts milliseconds
        assert (opened.height, opened.width) == frames.shape[1:3]
        last = opened.num_frames - 1
        for indices in ([last, 0, last // 2, last // 2, 0], range(last, -1, -5), [last], range(min(3, last + 1))):
            taken = opened.frames_at(indices)
            assert taken.dtype == np.uint8
            assert taken.flags.c_contiguous
            assert taken.shape == (len(indices), *frames.shape[1:])
            difference = np.abs(taken.astype(int) - frames[list(indices)])
            assert difference.mean(axis=(1, 2, 3)).max() <= TOLERANCE.get(name, SAME)


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_that_were_encoded(name: str) -> None:
    # Upright, in order, in the right colours: also those tagged as BT.709 or full range.
    pictures = source(name)
    difference = np.abs(expected(name).astype(int) - pictures).mean(axis=(1, 2, 3))
    assert difference.max() < LOSS.get(name, 8.0)
    assert len(pictures) == 1 or np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 4


def test_a_large_clip_is_not_kept_in_memory() -> None:
    large = probe.probe(file("large"))
    assert large.frames is None
    assert len(large.key_packets) == 12
    assert probe.probe(file("h264")).frames is not None


def test_a_path_and_its_bytes_give_the_same(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that FFmpeg would take for a protocol.
    (tmp_path / "concat:x.mp4").write_bytes(file("h264-b-frames"))
    monkeypatch.chdir(tmp_path)
    with open_video("concat:x.mp4", backend=backend) as opened:
        assert np.array_equal(opened.frames_at(range(24)), expected("h264-b-frames"))


def test_times_give_the_frames_shown_at_them(backend: str) -> None:
    with open_video(file("variable-rate"), backend=backend) as opened:
        frames = expected("variable-rate")
        stamps = times("variable-rate")
        seconds = [-5.0, 0.0, 2.9 / RATE, 3 / RATE, 5.9 / RATE, 6 / RATE, stamps[-1] / RATE, 1e9, float("inf")]
        shown = [0, 0, 2, 3, 3, 4, 23, 23, 23]
        assert np.array_equal(opened.frames_at_times(seconds), frames[shown])
        # A frame's own time finds it, however it was rounded.
        assert np.array_equal(opened.frames_at_times(stamp / RATE for stamp in stamps), frames)
        with pytest.raises(RequestError, match="is not a number"):
            opened.frames_at_times([float("nan")])


@pytest.mark.parametrize("index", [-1, 24, 10**12])
def test_an_index_out_of_range_is_refused_with_the_number_of_frames(backend: str, index: int) -> None:
    with (
        open_video(file("h264"), backend=backend) as opened,
        pytest.raises(RequestError, match=f"no frame {index}; the video has 24 frames, 0 to 23"),
    ):
        opened.frames_at([0, index])


def test_a_closed_video_is_refused(backend: str) -> None:
    opened = open_video(file("h264"), backend=backend)
    assert repr(opened) == f"<Video: 24 frames of 64x48 at 25 fps, {backend} on cpu>"
    opened.close()
    opened.close()
    with pytest.raises(RequestError, match="closed; open it again"):
        opened.frames_at([0])


def test_impossible_requests_say_what_to_do(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"no file nowhere\.mp4"):
        open_video("nowhere.mp4", backend=backend)
    with pytest.raises(RequestError, match=f"{backend} on tpu: no device 'tpu'; expected cpu or cuda"):
        open_video(file("h264"), backend=backend, device="tpu")
    with open_video(file("h264"), backend=backend) as opened:
        with pytest.raises(RequestError, match="ask for one frame or more"):
            opened.frames_at([])
        monkeypatch.setattr(probe, "MAX_PIXELS", 3 * 64 * 48)
        with pytest.raises(RequestError, match=r"4 frames of 64x48 are over 9216 pixels; ask for fewer frames at once"):
            opened.frames_at([0, 1, 2, 3])
    monkeypatch.setattr(probe, "MAX_PIXELS", 1000)
    with pytest.raises(DecodeError, match="a frame of 3072 pixels, over the limit of 1000"):
        open_video(file("h264"), backend=backend)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no backend 'torchcodek'; did you mean 'torchcodec'"):
        open_video(file("h264"), backend="torchcodek")


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "torchcodec"])
def test_backends_without_gpu_code_say_so(name: str) -> None:
    with pytest.raises(RequestError, match="decodes on the CPU only; use device='cpu', or backend='torchcodec'"):
        open_video(file("h264"), backend=name, device="cuda")


@pytest.mark.parametrize("channels", [1, 3])
def test_exact_arrays_open_as_videos(channels: int, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (5, 6, 7, channels), dtype=np.uint8)
    (tmp_path / "x.npy.zst").write_bytes(bytes(Lossless().encode(Frames(data, 25.0)).data))
    with open_video(tmp_path / "x.npy.zst") as opened:
        assert (opened.backend, opened.num_frames, opened.height, opened.width) == ("lossless", 5, 6, 7)
        assert opened.seconds == (0.0, 1.0, 2.0, 3.0, 4.0)
        assert np.array_equal(opened.frames_at([4, 0, 0]), data[[4, 0, 0]].repeat(3 // channels, axis=3))
    with pytest.raises(DecodeError, match=r"an exact array .* use backend='lossless', not 'pyav'"):
        open_video(tmp_path / "x.npy.zst", backend="pyav")
    with pytest.raises(DecodeError, match="not a Zstandard frame"):
        open_video(file("h264"), backend="lossless")


def test_containers_are_identified_by_their_first_bytes() -> None:
    kinds = {name: containers.demuxer(file(name)[: containers.HEAD_BYTES]) for name in NAMES}
    assert {kinds[name] for name in ("h264", "vp9", "gif", "mpeg4-avi", "h264-mpegts")} == {
        "mov", "matroska", "gif", "avi", "mpegts"
    }  # fmt: skip


@pytest.mark.long
def test_opening_many_files_leaks_nothing_and_ends(backend: str, tmp_path: Path) -> None:
    num_opens = 2000
    # In a separate process: it may hang or crash, and only its own memory counts.
    (tmp_path / "clip.mp4").write_bytes(file("h264-b-frames"))
    (tmp_path / "cut.avi").write_bytes(video_files.damaged_at(file("h264-b-frames-avi"), 12))
    process = subprocess.run(
        [sys.executable, "-c", _MANY, backend, str(tmp_path), str(num_opens)],
        capture_output=True, text=True, timeout=100, env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    opens, growth_bytes = map(float, process.stdout.split())
    assert opens == num_opens
    # A leaked frame or decoder takes 9 kB to 1 MB each time. torchcodec and decord themselves leak 2 kB.
    assert growth_bytes < 8000 * num_opens, f"{growth_bytes / 1e6:.1f} MB more after {num_opens} opens"


_MANY = """
import pathlib, sys
import av, psutil
from t2vdata.media.decode import open_video
av.logging.set_level(None)
backend, folder = sys.argv[1], pathlib.Path(sys.argv[2])
clip, cut = (folder / name for name in ("clip.mp4", "cut.avi"))
clip_bytes, process, begin = clip.read_bytes(), psutil.Process(), 0
for number in range(300 + int(sys.argv[3])):
    if number == 300:
        begin = process.memory_info().rss
    source = cut if number % 10 == 0 else clip if number % 2 else clip_bytes
    with open_video(source, backend=backend) as video:
        video.frames_at([3, 0])
print(number + 1 - 300, process.memory_info().rss - begin)
"""


def test_importing_the_package_loads_no_decoder() -> None:
    code = (
        "import sys; from t2vdata.media.decode import decode, open_video, survey\n"
        "print([name for name in ('av', 'torch', 'torchcodec', 'decord', 'cv2', 'numpy', 'zstandard') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_the_package_exports_the_names_of_its_modules() -> None:
    from t2vdata.media import decode

    assert all(getattr(decode, name) for name in decode.__all__)
    assert decode.open_video is opening.open_video
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        decode.nothing  # noqa: B018


def test_raw_video_is_shown_the_right_way_up_by_whatever_backend_opens_it() -> None:
    # In AVI, rows are stored from the bottom up, which no copy in another container says.
    pictures = video_files.pictures(3, 64, 48)
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream = out.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr24"
        for picture in pictures:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    with open_video(file.getvalue()) as video:
        assert np.array_equal(video.frames_at(range(3)), pictures)
    if load("opencv").why_not("cpu") is None:
        with pytest.raises(DecodeError, match="the layout of its rawvideo depends on the container; use backend='pyav'"):
            open_video(file.getvalue(), backend="opencv")


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"BM6$" + bytes(40), "a BMP picture"),
        (b"II*\0" + bytes(40), "a TIFF picture"),
    ],
)
def test_files_of_other_kinds_are_named(head: bytes, name: str) -> None:
    with pytest.raises(DecodeError, match=f"no video container but {name}.*; expected MP4, .*; pictures: JPEG, PNG"):
        open_video(head, backend="pyav")


def test_a_webm_without_a_duration_as_browsers_record_it_opens_in_every_backend(backend: str) -> None:
    kind = dataclasses.replace(KINDS["vp8"], muxer={"live": "1"})
    data = numbered_files.encode(kind, range(30), rate=Fraction(25))
    with open_video(data, backend=backend) as video:
        assert numbers_in(video.frames_at(range(30))) == list(range(30))
