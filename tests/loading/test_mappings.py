"""A dataset of any number of shards is read with few open files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow  # noqa: F401  # as a trainer has, which reads the index
import pytest

from t2vdata import storage
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.mappings import max_mappings
from t2vdata.loading.reader import open_reader
from t2vdata.loading.spec import CacheSpec

keeps_descriptors = pytest.mark.skipif(sys.version_info >= (3, 13), reason="mappings keep no descriptor")
NUM_SHARDS = 120
SIZE = 2000


def num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def open_files_limited_to(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, list[ShardEntry]]:
    entries = []
    for number in range(NUM_SHARDS):
        data = bytes([number]) * SIZE
        (tmp_path / f"{number:03d}.tar").write_bytes(data)
        entries.append(ShardEntry(f"{number:03d}.tar", 1, SIZE, hashlib.sha256(data).hexdigest()))
    return tmp_path, entries


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process like a loading worker, which has not imported Arrow."""
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)


def test_mapped_shards_keep_no_open_files(many: tuple[Path, list[ShardEntry]]) -> None:
    folder, entries = many
    before = num_open_files()
    reader = open_reader(str(folder), entries)
    views = [reader.read(shard, 1, SIZE - 1) for shard in range(NUM_SHARDS)]
    assert num_open_files() <= before + 2
    reader.close()
    assert all(view == (folder / entry.name).read_bytes()[1:] for view, entry in zip(views, entries, strict=True))


@pytest.mark.parametrize("name", ["a b", "\u96ea", "\udcff"])
def test_files_of_any_name_are_mapped_whole(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)))
    view = storage.map_file(str(tmp_path / name))
    assert (view.format, view.readonly, bytes(view)) == ("B", True, bytes(range(256)))
    (tmp_path / name).write_bytes(b"")
    assert bytes(storage.map_file(str(tmp_path / name))) == b""


@keeps_descriptors
@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("kind", ["mapped", "shards"])
def test_more_shards_than_open_files_are_read(
    kind: str, many: tuple[Path, list[ShardEntry]], spec: Callable[..., CacheSpec]
) -> None:
    folder, entries = many
    before = num_open_files()
    with open_files_limited_to(before + 60):
        most = max_mappings()
        assert most < 60
        reader = open_reader(str(folder) if kind == "mapped" else f"file://{folder}", entries, cache=spec(fetch_ahead=1))
        for _ in range(2):
            for shard, entry in enumerate(entries):
                assert bytes(reader.read(shard, 0, SIZE)) == (folder / entry.name).read_bytes()
        assert num_open_files() <= before + most + 10
        reader.close()


@keeps_descriptors
@pytest.mark.usefixtures("worker")
def test_all_readers_of_a_process_share_the_limit(many: tuple[Path, list[ShardEntry]]) -> None:
    folder, entries = many
    before = num_open_files()
    with open_files_limited_to(before + 80):
        readers = [open_reader(str(folder), entries) for _ in range(3)]
        for shard in range(NUM_SHARDS):
            for reader in readers:
                reader.read(shard, 0, 1)
        assert num_open_files() <= before + max_mappings() + 5
        for reader in readers:
            reader.close()
    assert num_open_files() <= before


@keeps_descriptors
@pytest.mark.usefixtures("worker")
def test_a_view_stays_valid_when_its_shard_is_unmapped_by_another_thread(many: tuple[Path, list[ShardEntry]]) -> None:
    folder, entries = many
    contents = [(folder / entry.name).read_bytes() for entry in entries]
    with open_files_limited_to(num_open_files() + 60):
        reader = open_reader(str(folder), entries)
        first = reader.read(0, 0, SIZE)

        def is_right(number: int) -> bool:
            shard = number * 37 % NUM_SHARDS
            return bytes(reader.read(shard, 0, 700)) == contents[shard][:700]

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(is_right, range(2000)))
        assert bytes(first) == contents[0]
        reader.close()
