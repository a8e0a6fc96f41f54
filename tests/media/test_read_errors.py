"""A part of a local file that the disk cannot read costs its clip: it is not the end of the file."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from media.video_files import in_front, make
from PIL import Image

from t2vdata.errors import DecodeError
from t2vdata.media import media_file
from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video
from t2vdata.media.media_file import MediaFile


class FailingDisk(io.FileIO):
    """A file whose second half is on damaged sectors."""

    def readinto(self, buffer: memoryview, /) -> int:
        middle = Path(str(self.name)).stat().st_size // 2
        if self.tell() >= middle:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(memoryview(buffer)[: middle - self.tell()])

    def readall(self) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def disk_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_file.io, "FileIO", FailingDisk)


def animated(kind: str) -> bytes:
    frames = [Image.effect_noise((64, 64), 40 + number).convert("RGB") for number in range(4)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100)
    return file.getvalue()


@pytest.mark.usefixtures("disk_fails")
@pytest.mark.parametrize("kind", ["odd-size-420", "h264-mpegts", "mpeg4-avi", "large", "PNG", "WEBP", "GIF"])
def test_a_video_is_not_cut_where_the_disk_fails(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(animated(kind) if kind.isupper() else make(kind))
    reads: list[Callable[[], object]] = [
        lambda: read_clip(str(path), ClipRequest(size=16)),
        lambda: open_video(path, backend="pyav"),
    ]
    for read in reads:
        with pytest.raises(DecodeError, match="the file cannot be read: Input/output error"):
            read()


@pytest.mark.usefixtures("disk_fails")
def test_frames_before_the_sectors_that_fail_are_enough_for_their_clip(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(in_front(make("large"), tmp_path))
    assert read_clip(str(path), ClipRequest(num_frames=2)).num_frames == 2


def test_a_file_remembers_its_first_read_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"sound" * 1000 + b"lost" * 1250)
    with MediaFile(FailingDisk(str(path))) as file:
        assert file.read(5) == b"sound"
        file.seek(6000)
        assert file.read(5) == b""
        assert file.error is not None
        assert file.error.errno == errno.EIO
