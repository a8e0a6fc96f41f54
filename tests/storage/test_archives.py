"""Tar archives: gzipped or plain, complete or damaged, and nothing in them is trusted."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import servers

from t2vdata import storage
from t2vdata.errors import DamagedError
from t2vdata.storage import archives
from t2vdata.storage.archive_stream import ArchiveStream, SharedStream, file_blocks
from t2vdata.storage.archives import Archive, Contents

FILES = {f"train/{number:02d}.mp4": random.Random(number).randbytes(700 + 300 * number) for number in range(8)}


def tar(files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def read(data: bytes, folder: Path, name: str = "a.tar.gz", max_members: int | None = None) -> Contents:
    (folder / name).write_bytes(data)
    return archives.contents(Archive(name, str(folder / name), len(data)), max_members)


def unpacked(contents: Contents, path: str, shared: SharedStream | None = None) -> dict[str, bytes]:
    """Return the files of an archive, each read at its listed offset."""
    if not contents.is_gzipped:
        return {
            member.name: b"".join(file_blocks(path, member.offset, member.offset + member.size)) for member in contents.members
        }
    shared = shared or SharedStream()
    files = {}
    for member in contents.members:
        with shared.at(path, member.offset) as stream:
            files[member.name] = b"".join(stream.chunks(member.size))
    return files


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_files_are_listed_in_order_and_read_at_their_offsets(kind: int, packed: object, tmp_path: Path) -> None:
    files = FILES | {f"{'long' * 30}/é.mp4": b"x" * 5000} if kind != tarfile.USTAR_FORMAT else FILES
    contents = read(packed(tar(files, kind)), tmp_path)  # type: ignore[operator]
    assert (contents.damage, contents.is_gzipped) == (None, packed is gzip.compress)
    assert [member.name for member in contents.members] == list(files)
    assert unpacked(contents, str(tmp_path / "a.tar.gz")) == files


def test_a_gzip_file_of_several_members_is_one_archive(tmp_path: Path) -> None:
    data = tar(FILES)
    contents = read(gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(100), tmp_path)
    assert (contents.damage, len(contents.members)) == (None, len(FILES))


def test_sizes_over_eight_gigabytes_are_read() -> None:
    member = tarfile.TarInfo("a.mp4")
    member.size = 9 << 30
    assert archives.parse_header("a", member.tobuf(tarfile.GNU_FORMAT), 0)[2] == 9 << 30


def test_the_first_few_files_need_no_more_of_the_archive(tmp_path: Path) -> None:
    cut = gzip.compress(tar(FILES))[:4000]
    contents = read(cut, tmp_path, max_members=2)
    assert (contents.damage, len(contents.members)) == (None, 2)


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.6])
def test_the_complete_files_of_an_archive_that_is_cut_short_are_listed(packed: object, share: float, tmp_path: Path) -> None:
    data = packed(tar(FILES))  # type: ignore[operator]
    contents = read(data[: int(share * len(data))], tmp_path)
    assert contents.damage is not None
    assert "a.tar.gz" in contents.damage
    assert len(contents.members) < len(FILES)
    assert unpacked(contents, str(tmp_path / "a.tar.gz")) == dict(list(FILES.items())[: len(contents.members)])


def test_an_archive_without_an_end_mark_is_cut_short_even_between_two_files(tmp_path: Path) -> None:
    end = sum(512 + len(content) + -len(content) % 512 for content in FILES.values())
    contents = read(tar(FILES)[:end], tmp_path, "a.tar")
    assert (len(contents.members), contents.damage) == (8, f"{tmp_path / 'a.tar'} ends at byte {end}, without an end mark")


def test_a_broken_header_is_reported_with_its_position(tmp_path: Path) -> None:
    data = bytearray(tar(FILES))
    position = 512 + 1024
    data[position : position + 8] = b"\xff" * 8
    contents = read(bytes(data), tmp_path, "a.tar")
    assert ([member.name for member in contents.members], contents.damage) == (
        ["train/00.mp4"],
        f"{tmp_path / 'a.tar'}: no tar header at byte {position}",
    )


@pytest.mark.parametrize("seed", range(30))
def test_broken_bytes_never_hang_or_raise(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    data = bytearray(gzip.compress(tar(FILES), compresslevel=rng.choice([0, 6])) if seed % 2 else tar(FILES))
    for _ in range(rng.randrange(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    contents = read(bytes(data), tmp_path)
    assert len(contents.members) <= len(FILES)


def test_links_devices_and_paths_that_leave_the_folder_are_skipped(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("../up.mp4", "/etc/passwd", "a/../../b.mp4", "./sound.mp4"):
            member = tarfile.TarInfo(name)
            member.size = 3
            file.addfile(member, io.BytesIO(b"abc"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("link.mp4")
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    contents = read(buffer.getvalue(), tmp_path, "a.tar")
    assert ([member.name for member in contents.members], contents.damage) == (["sound.mp4"], None)


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_streamed(tmp_path: Path) -> None:
    data = gzip.compress(tar({"zeros.mp4": bytes(20 << 20), "last.mp4": b"x"}))
    assert len(data) < 50_000
    contents = read(data, tmp_path)
    assert [member.name for member in contents.members] == ["zeros.mp4", "last.mp4"]
    with SharedStream().at(str(tmp_path / "a.tar.gz"), contents.members[1].offset) as stream:
        assert stream.read(1) == b"x"


def test_a_shared_stream_continues_where_it_was_and_starts_again_for_what_lies_before(tmp_path: Path) -> None:
    contents = read(gzip.compress(tar(FILES)), tmp_path)
    path, shared = str(tmp_path / "a.tar.gz"), SharedStream()
    streams: list[ArchiveStream] = []
    for member in [*contents.members, *contents.members]:
        with shared.at(path, member.offset) as stream:
            assert b"".join(stream.chunks(member.size)) == FILES[member.name]
        if stream not in streams:
            streams.append(stream)
    assert len(streams) == 2


def test_an_archive_that_ends_before_an_offset_is_damaged(tmp_path: Path) -> None:
    read(gzip.compress(tar(FILES)), tmp_path)
    with (
        pytest.raises(DamagedError, match=r"a\.tar\.gz ends before byte"),
        SharedStream().at(str(tmp_path / "a.tar.gz"), 1 << 20),
    ):
        pass


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://archives"
    fsspec.filesystem("memory").rm("/archives", recursive=True)


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_an_archive_at_a_url_is_read_the_same_way(packed: object, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2vdata.storage.remote.BLOCK", 1000)
    storage.write_whole(f"{memory}/a.tar.gz", packed(tar(FILES)))  # type: ignore[operator]
    contents = archives.contents(Archive("a.tar.gz", f"{memory}/a.tar.gz", 1))
    assert unpacked(contents, f"{memory}/a.tar.gz") == FILES


def test_a_broken_connection_to_a_web_server_continues_where_it_broke(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar({"a.mp4": random.Random(0).randbytes(3_000_000)})))
    with (
        servers.nginx(tmp_path, tmp_path / "nginx") as server,
        servers.cutting_proxy(server.url, cuts=2, after=1_000_000) as connection,
    ):
        contents = archives.contents(Archive("a.tar.gz", f"{connection.url}/a.tar.gz", 1))
        assert connection.cuts_left == 0
    assert (contents.damage, len(contents.members)) == (None, 1)
