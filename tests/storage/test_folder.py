"""`Folder`: every operation waits equally long for an unavailable store, and one place joins URLs."""

from __future__ import annotations

import contextlib
import errno
import io
import ntpath
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from t2vdata import storage
from t2vdata.errors import StorageError, StoreAwayError, TransientError
from t2vdata.storage import Folder, atomic_write


class FlakyStore(MemoryFileSystem):
    """A store in memory that refuses its next ``failures_left`` requests."""

    protocol = "flaky"
    failures_left = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    def _refuse(self) -> None:
        if FlakyStore.failures_left > 0:
            FlakyStore.failures_left -= 1
            raise OSError("the store is unavailable")

    def ls(self, path: str, detail: bool = True, **settings: Any) -> Any:
        self._refuse()
        return super().ls(path, detail=detail, **settings)

    def exists(self, path: str, **settings: Any) -> bool:
        self._refuse()
        return super().exists(path, **settings)

    def info(self, path: str, **settings: Any) -> Any:
        self._refuse()
        return super().info(path, **settings)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **settings: Any) -> bytes:
        self._refuse()
        return super().cat_file(path, start=start, end=end, **settings)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **settings: Any) -> Any:
        self._refuse()
        return super().pipe_file(path, value, mode=mode, **settings)

    def rm_file(self, path: str) -> None:
        self._refuse()
        super().rm_file(path)

    def list_multipart_uploads(self, bucket: str) -> list[Any]:
        self._refuse()
        return []


@pytest.fixture
def store() -> Iterator[str]:
    """The URL of a folder with one file, in a store that can refuse."""
    fsspec.register_implementation("flaky", FlakyStore, clobber=True)
    memory = fsspec.filesystem("memory")
    memory.pipe("/flaky/a.txt", b"first\nsecond\n")
    FlakyStore.failures_left = 0
    yield "flaky://flaky"
    FlakyStore.failures_left = 0
    with contextlib.suppress(FileNotFoundError):
        memory.rm("/flaky", recursive=True)


def write_in_a_block(folder: Folder) -> None:
    with folder.writing("d.txt") as file:
        file.write(b"x")


OPERATIONS: dict[str, tuple[Callable[[Folder], object], object]] = {
    "read_bytes": (lambda folder: folder.read_bytes("a.txt"), b"first\nsecond\n"),
    "read_first_line": (lambda folder: folder.read_first_line("a.txt").strip(), b"first"),
    "list_names": (lambda folder: folder.list_names(), ["a.txt"]),
    "sizes": (lambda folder: folder.sizes(), {"a.txt": 13}),
    "exists": (lambda folder: folder.exists("a.txt"), True),
    "size": (lambda folder: folder.size("a.txt"), 13),
    "sha256": (lambda folder: len(folder.sha256("a.txt")), 64),
    "write": (lambda folder: folder.write("b.txt", b"x"), None),
    "writing": (write_in_a_block, None),
    "create": (lambda folder: folder.create("c.txt", b"x"), True),
    "remove": (lambda folder: folder.remove("a.txt", "missing.txt"), None),
    "sweep": (lambda folder: folder.sweep(), None),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_of_a_patient_folder_waits_for_an_unavailable_store(store: str, name: str) -> None:
    operation, expected = OPERATIONS[name]
    FlakyStore.failures_left = 1
    assert operation(Folder(store, patience_seconds=30)) == expected
    assert FlakyStore.failures_left == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_of_an_impatient_folder_fails_at_once(store: str, name: str) -> None:
    operation, _ = OPERATIONS[name]
    FlakyStore.failures_left = 1
    with pytest.raises(TransientError, match="the store is unavailable"):
        operation(Folder(store))
    assert FlakyStore.failures_left == 0


def test_a_result_that_took_work_is_written_once_the_store_is_back(store: str) -> None:
    FlakyStore.failures_left = 1
    storage.write_whole(f"{store}/vocabulary.json", b"{}")
    assert storage.read_bytes(f"{store}/vocabulary.json") == b"{}"


def test_patience_ends(store: str) -> None:
    FlakyStore.failures_left = 1000
    with pytest.raises(StoreAwayError, match=r"gave up after 0 s; run the same command again, finished shards are kept"):
        Folder(store, patience_seconds=0.3).read_bytes("a.txt")


def test_folders_below_are_as_patient_and_an_impatient_copy_is_not(store: str) -> None:
    folder = Folder(store, patience_seconds=7)
    assert folder.below("a", "b") == Folder(f"{store}/a/b", patience_seconds=7)
    assert folder.impatient() == Folder(store)


def test_a_folder_reaches_workers(store: str) -> None:
    folder = Folder(store, patience_seconds=7)
    assert pickle.loads(pickle.dumps(folder)) == folder


@pytest.mark.parametrize("url", ["s3://bucket/out", "s3://bucket/out/"])
def test_urls_are_joined_with_slashes_on_every_system(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "join", ntpath.join)
    folder = Folder(url)
    assert folder.join("a", "b.tar") == "s3://bucket/out/a/b.tar"
    assert folder.below(".t2vdata-build").below("reports").join("c") == "s3://bucket/out/.t2vdata-build/reports/c"
    assert storage.join(url, "a", "b") == "s3://bucket/out/a/b"


def test_the_parent_of_a_path_or_url_is_its_folder() -> None:
    assert storage.parent("s3://bucket/out/a.tar") == "s3://bucket/out"
    assert storage.parent(os.path.join("out", "a.tar")) == "out"


def test_a_local_folder_has_the_same_operations(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    assert (folder.exists(), folder.list_names(), folder.sizes(), folder.size("a")) == (False, [], {}, None)
    folder.make()
    folder.write("a", b"first\nsecond")
    write_in_a_block(folder)
    assert folder.sizes() == {"a": 12, "d.txt": 1}
    assert (folder.read_first_line("a").strip(), folder.read_bytes("d.txt")) == (b"first", b"x")
    folder.remove("a", "d.txt", "missing")
    folder.remove_itself()
    assert not folder.exists()


def test_an_error_in_the_block_is_not_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of a camera") as raised, Folder(str(tmp_path)).writing("a.tar"):
        raise OSError(errno.EIO, "Input/output error of a camera")
    assert not isinstance(raised.value, StorageError)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_file_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(io.FileIO):
        def write(self, data: bytes, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_write.io, "FileIO", FullDisk)
    with (
        pytest.raises(StorageError, match=r"no space left while writing .*a\.tar;"),
        Folder(str(tmp_path)).writing("a.tar") as file,
    ):
        file.write(bytes(2 << 20))
    assert list(tmp_path.iterdir()) == []
