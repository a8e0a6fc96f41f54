"""Tar archives read from front to end: gzipped or plain, whole or damaged, and nothing in them trusted."""

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
from t2vdata.storage.archives import Archive, Contents, Stream

FILES = {f"train/{number:02d}.mp4": random.Random(number).randbytes(700 + 300 * number) for number in range(8)}


def tar(files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def read(data: bytes, folder: Path, name: str = "a.tar.gz", most: int | None = None) -> Contents:
    (folder / name).write_bytes(data)
    return archives.contents(Archive(name, str(folder / name), len(data)), most)


def unpacked(found: Contents, path: str) -> dict[str, bytes]:
    """Return the files of an archive, each read where its contents say that it is."""
    if not found.is_gzipped:
        return {one.name: b"".join(archives.blocks(path, one.offset, one.offset + one.size)) for one in found.members}
    made = {}
    for one in found.members:
        with archives.at(path, one.offset) as stream:
            made[one.name] = b"".join(stream.pieces(one.size))
    return made


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_files_are_found_in_their_order_and_read_where_they_are(kind: int, packed: object, tmp_path: Path) -> None:
    files = FILES | {f"{'long' * 30}/é.mp4": b"x" * 5000} if kind != tarfile.USTAR_FORMAT else FILES
    found = read(packed(tar(files, kind)), tmp_path)  # type: ignore[operator]
    assert (found.damage, found.is_gzipped) == (None, packed is gzip.compress)
    assert [one.name for one in found.members] == list(files)
    assert unpacked(found, str(tmp_path / "a.tar.gz")) == files


def test_gzip_files_of_several_parts_are_one(tmp_path: Path) -> None:
    data = tar(FILES)
    found = read(gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(100), tmp_path)
    assert (found.damage, len(found.members)) == (None, len(FILES))


def test_sizes_over_eight_gigabytes_are_read() -> None:
    member = tarfile.TarInfo("a.mp4")
    member.size = 9 << 30
    assert archives._header("a", member.tobuf(tarfile.GNU_FORMAT), 0)[2] == 9 << 30


def test_the_first_few_files_need_no_more_of_the_archive(tmp_path: Path) -> None:
    cut = gzip.compress(tar(FILES))[:4000]
    found = read(cut, tmp_path, most=2)
    assert (found.damage, len(found.members)) == (None, 2)


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.6])
def test_of_an_archive_that_is_cut_short_the_whole_files_are_there(packed: object, share: float, tmp_path: Path) -> None:
    data = packed(tar(FILES))  # type: ignore[operator]
    found = read(data[: int(share * len(data))], tmp_path)
    assert found.damage is not None
    assert "a.tar.gz" in found.damage
    assert len(found.members) < len(FILES)
    assert unpacked(found, str(tmp_path / "a.tar.gz")) == dict(list(FILES.items())[: len(found.members)])


def test_an_archive_without_an_end_is_cut_short_even_between_two_files(tmp_path: Path) -> None:
    end = sum(512 + len(content) + -len(content) % 512 for content in FILES.values())
    found = read(tar(FILES)[:end], tmp_path, "a.tar")
    assert (len(found.members), found.damage) == (8, f"{tmp_path / 'a.tar'} ends at byte {end}, without an end mark")


def test_a_broken_header_is_named_with_its_place(tmp_path: Path) -> None:
    data = bytearray(tar(FILES))
    place = 512 + 1024
    data[place : place + 8] = b"\xff" * 8
    found = read(bytes(data), tmp_path, "a.tar")
    assert ([one.name for one in found.members], found.damage) == (
        ["train/00.mp4"],
        f"{tmp_path / 'a.tar'}: no tar header at byte {place}",
    )


@pytest.mark.parametrize("seed", range(30))
def test_broken_bytes_never_hang_or_escape(seed: int, tmp_path: Path) -> None:
    draws = random.Random(seed)
    data = bytearray(gzip.compress(tar(FILES), compresslevel=draws.choice([0, 6])) if seed % 2 else tar(FILES))
    for _ in range(draws.randrange(1, 20)):
        data[draws.randrange(len(data))] = draws.randrange(256)
    found = read(bytes(data), tmp_path)
    assert len(found.members) <= len(FILES)


def test_links_devices_and_paths_that_climb_are_passed_over(tmp_path: Path) -> None:
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
    found = read(buffer.getvalue(), tmp_path, "a.tar")
    assert ([one.name for one in found.members], found.damage) == (["sound.mp4"], None)


def test_what_unpacks_to_a_thousand_times_its_size_is_streamed(tmp_path: Path) -> None:
    data = gzip.compress(tar({"zeros.mp4": bytes(20 << 20), "last.mp4": b"x"}))
    assert len(data) < 50_000
    found = read(data, tmp_path)
    assert [one.name for one in found.members] == ["zeros.mp4", "last.mp4"]
    with archives.at(str(tmp_path / "a.tar.gz"), found.members[1].offset) as stream:
        assert stream.read(1) == b"x"


def test_a_stream_goes_on_where_it_was_and_begins_anew_for_what_lies_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(gzip.compress(tar(FILES)), tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(archives, "Stream", lambda path: opened.append(path) or Stream(path))
    path = str(tmp_path / "a.tar.gz")
    unpacked(found, path)
    unpacked(found, path)
    # Once for each turn, but for the one that another test may have left open.
    assert opened in ([path], [path] * 2)


def test_an_archive_that_ends_before_a_place_is_damaged(tmp_path: Path) -> None:
    read(gzip.compress(tar(FILES)), tmp_path)
    with pytest.raises(DamagedError, match=r"a\.tar\.gz ends before byte"), archives.at(str(tmp_path / "a.tar.gz"), 1 << 20):
        pass


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://archives"
    fsspec.filesystem("memory").rm("/archives", recursive=True)


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_an_archive_behind_a_url_is_read_alike(packed: object, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2vdata.storage.remote.BLOCK", 1000)
    storage.write_whole(f"{memory}/a.tar.gz", packed(tar(FILES)))  # type: ignore[operator]
    found = archives.contents(Archive("a.tar.gz", f"{memory}/a.tar.gz", 1))
    assert unpacked(found, f"{memory}/a.tar.gz") == FILES


def test_a_line_to_a_web_server_that_breaks_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar({"a.mp4": random.Random(0).randbytes(3_000_000)})))
    with (
        servers.nginx(tmp_path, tmp_path / "nginx") as server,
        servers.breaking_line(server.url, cuts=2, after=1_000_000) as line,
    ):
        found = archives.contents(Archive("a.tar.gz", f"{line.url}/a.tar.gz", 1))
        assert line.cuts_left == 0
    assert (found.damage, len(found.members)) == (None, 1)
