"""Broken files are refused with the reason, or give the frames before the damage: the same in every backend."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from media import video_files
from support import skip_or_fail

from t2vdata.errors import DecodeError
from t2vdata.media.decode import open_video
from t2vdata.media.decode.backends import load

VIDEO_BACKENDS = ("pyav", "torchcodec", "decord", "opencv")


@pytest.fixture(params=VIDEO_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    reason = load(request.param).why_not("cpu")
    if reason:
        skip_or_fail(f"{request.param}: {reason}")
    return str(request.param)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
BROKEN = {
    "zero bytes": (b"", "no bytes"),
    "text": (b"just text, no video " * 50, r"no video container \(begins with text\); expected MP4, MOV, Matroska"),
    "zeros": (bytes(5000), r"no video container \(begins with 00 00 00 00 00 00 00 00\)"),
    "hls playlist": (PLAYLIST, "no video container"),
    "concat script": (b"ffconcat version 1.0\nfile /etc/passwd\n", "no video container"),
    "sdp": (b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "no video container"),
    "dash": (b'<?xml version="1.0"?><MPD type="static"></MPD>', "no video container"),
    "header alone": (b"\0\0\0\x20ftypisom" + bytes(500), r"\(FFmpeg\)|no video stream"),
    "riff that is sound": (b"RIFF\x10\0\0\0WAVEfmt " + bytes(100), "no video container"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_but_a_video_is_refused_with_the_reason(backend: str, name: str, tmp_path: Path) -> None:
    data, reason = BROKEN[name]
    (tmp_path / "named.mp4").write_bytes(data)
    messages = set()
    for source in (data, tmp_path / "named.mp4"):
        with pytest.raises(DecodeError, match=reason) as caught:
            open_video(source, backend=backend)
        messages.add(str(caught.value))
        with pytest.raises(DecodeError) as caught:
            open_video(source, backend="pyav")
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_a_file_without_pictures_is_refused(backend: str) -> None:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="no video stream"):
        open_video(file.getvalue(), backend=backend)


def test_a_truncated_file_gives_the_frames_before_the_cut(backend: str, tmp_path: Path) -> None:
    intact = video_files.in_front(video_files.make("h264"), tmp_path)
    offset, size = video_files.positions(intact)[15]
    for end in (offset, offset + 1, offset + size // 2):
        with open_video(intact[:end], backend=backend) as video, open_video(intact) as before:
            # The container's index still promises 24.
            assert video.num_frames == 15
            assert video.seconds == before.seconds[:15]
            assert np.array_equal(video.frames_at(range(14, -1, -1)), before.frames_at(range(14, -1, -1)))
            # What is shown after the end is the last frame that decodes.
            assert np.array_equal(video.frames_at_times([1e6]), before.frames_at([14]))


@pytest.mark.parametrize("name", ["h264", "h264-b-frames"])
def test_a_file_damaged_in_the_middle_gives_the_frames_before_the_damage(backend: str, name: str) -> None:
    intact = video_files.make(name)
    damaged = video_files.damaged_at(intact, 13)
    with (
        open_video(damaged, backend=backend) as video,
        open_video(damaged, backend="pyav") as same,
        open_video(intact) as before,
    ):
        # With B frames, FFmpeg still holds two pictures that are not shown yet when it meets the damage.
        assert video.num_frames == same.num_frames == {"h264": 13, "h264-b-frames": 11}[name]
        assert video.seconds == before.seconds[: video.num_frames]
        every = range(video.num_frames)
        assert np.array_equal(video.frames_at(every), before.frames_at(every))


def test_a_file_whose_first_frame_is_damaged_is_refused(backend: str) -> None:
    with pytest.raises(DecodeError, match="no frame decodes: Invalid data found when processing input"):
        open_video(video_files.damaged_at(video_files.make("h264"), 0), backend=backend)


def test_a_truncated_rotated_file_is_still_upright(backend: str, tmp_path: Path) -> None:
    intact = video_files.rotated(video_files.in_front(video_files.make("h264"), tmp_path), 2)
    cut = intact[: video_files.positions(intact)[10][0]]
    with open_video(cut, backend=backend) as video, open_video(intact) as before:
        assert video.num_frames == 10
        assert np.array_equal(video.frames_at(range(10)), before.frames_at(range(10)))


def test_opencv_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_video(video_files.make("h264"), backend="opencv") as video:
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_mode & 0o077 == 0
        video.frames_at([5])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_damages", [6, pytest.param(30, marks=pytest.mark.long)])
def test_no_kind_of_damage_crashes_or_hangs(backend: str, num_damages: int, tmp_path: Path) -> None:
    # In a separate process, which a decoder may crash or block.
    for name in ("h264-b-frames", "mpeg4-avi", "h264-mpegts", "vp9", "gif"):
        (tmp_path / name).write_bytes(video_files.make(name))
    process = subprocess.run(
        [sys.executable, "-c", _FUZZ, backend, str(tmp_path), str(num_damages)],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    same, refused, cannot = map(int, process.stdout.split())
    assert same + refused + cannot == 5 * num_damages
    assert same > 2 * num_damages
    assert refused > num_damages // 3
    # After damage, a packet may hold no frame or two: backends other than PyAV refuse such files.
    assert cannot <= (0 if backend == "pyav" else 3 * num_damages // 2)


_FUZZ = """
import pathlib, sys
import av
import numpy as np
from t2vdata.errors import DecodeError
from t2vdata.media.decode import open_video
av.logging.set_level(None)
random, counts = np.random.default_rng(0), {"same": 0, "refused": 0, "cannot": 0}
def seconds(data, backend):
    try:
        with open_video(data, backend=backend) as video:
            video.frames_at([*range(video.num_frames), 0])
            return video.seconds
    except DecodeError as error:
        return str(error)
for path in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    intact = path.read_bytes()
    for number in range(int(sys.argv[3])):
        data = bytearray(intact)
        at = int(random.integers(1, len(data) - 50))
        if number % 3 == 0:
            del data[at:]
        elif number % 3 == 1:
            data[random.integers(0, len(data))] = int(random.integers(256))
        else:
            data[at : at + 40] = bytes([int(random.integers(256))]) * 40
        expected, actual = seconds(bytes(data), "pyav"), seconds(bytes(data), sys.argv[1])
        if actual == expected:
            counts["same" if isinstance(actual, tuple) else "refused"] += 1
        else:
            assert isinstance(expected, tuple), (path, actual, expected)
            assert "use backend='pyav'" in actual, (path, actual, expected)
            counts["cannot"] += 1
print(*counts.values())
"""
