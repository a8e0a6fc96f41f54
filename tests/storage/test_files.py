"""Files appear complete or not at all, and errors say what to do."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from t2vdata import storage
from t2vdata.errors import RequestError, StorageError, T2VError
from t2vdata.storage.error_messages import read_error


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in fsspec's memory, with two files."""
    system = fsspec.filesystem("memory")
    system.pipe("/t2vdata/a.tar", b"0123456789")
    system.pipe("/t2vdata/b.json", b"{}")
    yield "memory://t2vdata"
    system.rm("/t2vdata", recursive=True)


def test_urls_and_paths_are_distinguished() -> None:
    assert storage.is_url("s3://bucket/key")
    assert storage.is_url("memory://t2vdata")
    assert not storage.is_url("/data/mnist-motion")
    assert not storage.is_url("pipe:cat /etc/passwd")
    assert not storage.is_url("C:\\data")


def test_a_name_is_joined_to_a_folder_or_a_url() -> None:
    assert storage.join("/data/set", "a.tar") == "/data/set/a.tar"
    assert storage.join("set", "a.tar") == "set/a.tar"
    assert storage.join("s3://bucket/set/", "a.tar") == "s3://bucket/set/a.tar"
    assert storage.join("s3://bucket/set", "a.tar") == "s3://bucket/set/a.tar"


# Writing


def test_a_file_appears_under_its_name_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with storage.written_whole(str(path)) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["a.bin"]


def write_and_fail(path: str, error: BaseException) -> None:
    before = os.listdir(os.path.dirname(path))
    with storage.written_whole(path) as file:
        file.write(b"half")
        file.flush()
        assert len(os.listdir(os.path.dirname(path))) == len(before) + 1
        raise error


def test_an_error_leaves_no_file_and_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(str(tmp_path / "a.bin"), ZeroDivisionError())
    assert os.listdir(tmp_path) == []


def test_an_error_keeps_the_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(str(path), KeyboardInterrupt())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_new_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    storage.write_whole(str(path), b"new")
    assert path.read_bytes() == b"new"


def test_a_file_can_be_written_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_whole("a.bin", b"x")
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_keeps_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The limit stands in for a full disk: the kernel refuses the write in the same place.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StorageError, match=r"limit reached while writing .*a\.bin; make room and run the same command"):
            storage.write_whole(str(path), bytes(3 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("attempt", [storage.make_folder, storage.list_names, lambda path: storage.write_whole(path, b"")])
def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path, attempt: Callable[[str], object]) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match=r"taken.* is, or lies under, a file; expected a folder: choose another --out"):
        attempt(str(tmp_path / "taken" / "below"))


def test_a_folder_in_place_of_a_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder; expected a file"):
        storage.open_read(str(tmp_path))
    with pytest.raises(StorageError, match="is a folder; expected a file"):
        storage.remove(str(tmp_path))


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/a\.bin: No such file or directory"):
        storage.write_whole(str(tmp_path / "nowhere" / "a.bin"), b"")


def test_folders_are_created_with_their_parents_and_may_exist(tmp_path: Path) -> None:
    for _ in range(2):
        storage.make_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_nothing_is_written_over_http(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"cannot write to http://host/x: http servers take no files; use a folder, or a store such as"
    ):
        storage.make_folder("http://host/x")


def test_files_in_stores_are_written_listed_and_removed(memory: str) -> None:
    path = storage.join(memory, "deeper/c.bin")
    storage.write_whole(path, b"new")
    assert storage.read_bytes(path) == b"new"
    assert storage.sizes(memory) == {"a.tar": 10, "b.json": 2}
    assert storage.list_names(memory) == ["a.tar", "b.json", "deeper"]
    assert not storage.Folder(memory).create("deeper/c.bin", b"other")
    assert storage.Folder(memory).create("d.bin", b"other")
    with pytest.raises(ZeroDivisionError):
        write_to_store_and_fail(path)
    assert storage.read_bytes(path) == b"new"
    for _ in range(2):
        storage.remove(path)
        storage.remove_all([storage.join(memory, name) for name in ("d.bin", "e.bin")])
    assert set(storage.sizes(memory)) == {"a.tar", "b.json"}


def write_to_store_and_fail(path: str) -> None:
    with storage.written_whole(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_a_sweep_removes_unfinished_files_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.tar", ".hidden", f".a.tar.123{storage.ASIDE}", f"mine{storage.ASIDE}"):
        (tmp_path / name).write_bytes(b"x")
    storage.sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(["a.tar", ".hidden", f"mine{storage.ASIDE}"])


def test_removing_twice_is_allowed_and_a_folder_with_files_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x")
    storage.remove_folder(str(tmp_path / "a"))
    assert (tmp_path / "a" / "b").exists()
    for _ in range(2):
        storage.remove(str(tmp_path / "a" / "b"))
    for _ in range(2):
        storage.remove_folder(str(tmp_path / "a"))
    assert os.listdir(tmp_path) == []


# Reading


def test_local_files_are_read_completely_or_in_part(tmp_path: Path) -> None:
    path = str(tmp_path / "a.bin")
    storage.write_whole(path, b"0123456789")
    assert storage.read_bytes(path) == b"0123456789"
    assert storage.read_range(path, 3, 4) == b"3456"
    assert storage.read_range(path, 10, 0) == b""
    assert storage.size(path) == 10
    assert storage.exists(path)
    assert storage.sha256(path) == hashlib.sha256(b"0123456789").hexdigest()
    assert storage.list_names(str(tmp_path)) == ["a.bin"]


def test_urls_are_read_completely_or_in_part(memory: str) -> None:
    path = storage.join(memory, "a.tar")
    assert storage.read_bytes(path) == b"0123456789"
    assert storage.read_range(path, 3, 4) == b"3456"
    assert storage.size(path) == 10
    assert storage.exists(path)
    assert storage.sha256(path) == hashlib.sha256(b"0123456789").hexdigest()
    assert storage.list_names(memory) == ["a.tar", "b.json"]


@pytest.mark.parametrize("offset", [8, 10, 400])
def test_a_read_past_the_end_says_where_the_file_ends(tmp_path: Path, memory: str, offset: int) -> None:
    storage.write_whole(str(tmp_path / "a.tar"), b"0123456789")
    for path in (str(tmp_path / "a.tar"), storage.join(memory, "a.tar")):
        with pytest.raises(
            StorageError, match=rf"a\.tar ends at byte \d+, before {offset + 5}; it may be cut short: run `t2vdata verify`"
        ):
            storage.read_range(path, offset, 5)


def test_a_missing_file_is_none_empty_or_not_found(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path), memory):
        path = storage.join(folder, "nothing")
        assert storage.size(path) is None
        assert not storage.exists(path)
        assert storage.list_names(path) == []
        with pytest.raises(FileNotFoundError):
            storage.open_read(path)
    (tmp_path / "file").write_bytes(b"")
    assert storage.size(str(tmp_path / "file" / "below")) is None
    with pytest.raises(NotADirectoryError):
        storage.open_read(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize("read", [storage.open_read, storage.size, storage.exists, storage.list_names])
def test_an_unknown_protocol_is_reported(read: Callable[[str], object]) -> None:
    with pytest.raises(RequestError, match="cannot open nonsense://a: Protocol not known: nonsense"):
        read("nonsense://a")


def test_a_pipe_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        storage.open_read("pipe:touch made")
    assert os.listdir(tmp_path) == []


def test_storage_errors_are_sentences_without_a_number() -> None:
    error = StorageError("no space left")
    assert str(error) == "no space left"
    assert isinstance(error, OSError)
    assert isinstance(error, T2VError)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read in (storage.read_bytes, storage.read_first_line, storage.sha256, storage.map_file, storage.open_read):
        with pytest.raises(StorageError, match=r"pipe is a pipe \(FIFO\); expected a regular file"):
            read(str(tmp_path / "pipe"))
        with pytest.raises(StorageError, match=r"/dev/zero is a device; expected a regular file"):
            read("/dev/zero")
        with pytest.raises(StorageError, match="is a folder; expected a file"):
            read(str(tmp_path))


def test_a_read_error_of_the_disk_names_the_file_and_the_next_move() -> None:
    # Address 0 of a process is never mapped: the kernel answers EIO.
    with pytest.raises(StorageError, match=r"cannot read /proc/self/mem: Input/output error; check the disk, and restore"):
        storage.read_range("/proc/self/mem", 0, 10)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "no permission to read /data/a.tar; give yourself access to it, or run as its owner"),
        (errno.EMFILE, "cannot open /data/a.tar: Too many open files; allow more open files with `ulimit -n`"),
    ],
)
def test_errors_of_reading_say_what_to_do(number: int, message: str) -> None:
    assert str(read_error(OSError(number, os.strerror(number)), "/data/a.tar")) == message


def test_absolute_paths_mean_the_same_after_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("data") == str(tmp_path / "data")
    assert storage.absolute("file://data") == f"file://{tmp_path}/data"
    assert storage.absolute("s3://bucket/data") == "s3://bucket/data"
