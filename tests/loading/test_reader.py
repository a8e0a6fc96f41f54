"""Bytes at (shard, offset), from files on this machine and from URLs, and what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError, ShardError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.reader import CachedShards, MappedShards, Reader, RemoteRanges, open_reader
from t2vdata.loading.spec import CacheSpec

Shards = tuple[Path, list[ShardEntry]]
MakeSpec = Callable[..., CacheSpec]
KINDS = ("mapped", "shards", "ranges")


def open_as(kind: str, shards: Shards, spec: MakeSpec) -> Reader:
    folder, entries = shards
    return (
        open_reader(str(folder), entries)
        if kind == "mapped"
        else open_reader(f"file://{folder}", entries, cache=spec(mode=kind))
    )


def test_the_location_decides_how_shards_are_read(shards: Shards, spec: MakeSpec) -> None:
    kinds = [type(open_as(kind, shards, spec)) for kind in KINDS]
    assert kinds == [MappedShards, CachedShards, RemoteRanges]


@pytest.mark.parametrize("kind", KINDS)
def test_any_part_of_any_shard_is_read(kind: str, shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    reader = open_as(kind, shards, spec)
    for shard, offset, size in (
        (0, 0, 10),
        (3, 512, 4096),
        (1, 0, entries[1].num_bytes),
        (2, entries[2].num_bytes, 0),
        (0, 7, 1),
    ):
        expected = (folder / entries[shard].name).read_bytes()[offset : offset + size]
        assert bytes(reader.read(shard, offset, size)) == expected
    reader.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("offset", "size"), [(0, (1 << 20) + 1), (1 << 20, 1), (1 << 30, 5), (-1, 5), (5, -1)])
def test_a_read_beyond_the_end_is_refused(kind: str, offset: int, size: int, shards: Shards, spec: MakeSpec) -> None:
    reader = open_as(kind, shards, spec)
    with pytest.raises(
        ShardError, match=rf"bytes {offset} to {offset + size} of set-train-000001.tar, which has 1048576.*t2vdata verify"
    ):
        reader.read(1, offset, size)
    reader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_can_read_at_once(kind: str, shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    contents = [(folder / entry.name).read_bytes() for entry in entries]
    reader = open_as(kind, shards, spec)

    def is_right(number: int) -> bool:
        shard, offset = number % 4, number * 997
        return bytes(reader.read(shard, offset, 333)) == contents[shard][offset : offset + 333]

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(is_right, range(200))) == 200
    reader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_reader_raises_and_earlier_reads_stay_valid(kind: str, shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    reader = open_as(kind, shards, spec)
    part = reader.read(0, 0, 100)
    for _ in range(2):
        reader.close()
    assert bytes(part) == (folder / entries[0].name).read_bytes()[:100]
    with pytest.raises(RequestError, match=r"the reader of .* is closed; open another"):
        reader.read(0, 0, 100)


def test_mapped_shards_are_not_copied(shards: Shards) -> None:
    reader = open_reader(str(shards[0]), shards[1])
    part = reader.read(0, 100, 50)
    assert isinstance(part, memoryview)
    assert part.readonly
    assert part.obj is reader.read(0, 0, 1).obj  # type: ignore[union-attr]


def test_a_shard_is_opened_when_it_is_first_read(shards: Shards) -> None:
    folder, entries = shards
    reader = open_reader(str(folder), entries)
    os.remove(folder / entries[2].name)
    assert len(reader.read(1, 0, 5)) == 5
    with pytest.raises(
        ShardError, match=rf"no shard .*{entries[2].name}, expected 1048576 bytes; see .*`t2vdata verify {folder}`"
    ):
        reader.read(2, 0, 5)


@pytest.mark.parametrize("num_bytes", [0, 1000, (1 << 20) + 512])
def test_a_shard_of_the_wrong_size_raises(num_bytes: int, shards: Shards) -> None:
    folder, entries = shards
    os.truncate(folder / entries[0].name, num_bytes)
    with pytest.raises(ShardError, match=rf"{entries[0].name} has {num_bytes} bytes, expected 1048576; .*`t2vdata verify"):
        open_reader(str(folder), entries).read(0, 0, 5)


def test_members_of_a_dataset_are_where_its_index_says(built: BuildResult) -> None:
    folder = str(built.out)
    entries = [shard for _, shard in manifest.read(folder).shards()]
    shard_at = {entry.name: shard for shard, entry in enumerate(entries)}
    rows = tables.read_index(folder, ("shard", "txt_offset", "txt_size", "captions")).to_pylist()
    reader = open_reader(folder, entries)
    texts = [bytes(reader.read(shard_at[row["shard"]], row["txt_offset"], row["txt_size"])).decode() for row in rows]
    assert texts == [row["captions"][0] for row in rows]
    assert len(texts) >= 60


def test_a_prefetch_may_be_repeated_wrong_or_late(shards: Shards, spec: MakeSpec) -> None:
    for kind in KINDS:
        reader = open_as(kind, shards, spec)
        reader.prefetch([3, 2, 3])
        reader.prefetch([])
        reader.prefetch([0, 1])
        assert [len(reader.read(shard, 0, 9)) for shard in (2, 3, 0, 1, 2)] == [9] * 5
        reader.prefetch([0, 1, 2, 3])
        reader.close()


def test_the_threads_of_a_dropped_reader_end(shards: Shards, spec: MakeSpec) -> None:
    before = threading.active_count()
    reader: Reader | None = open_as("shards", shards, spec)
    assert reader is not None
    reader.prefetch([0, 1, 2, 3])
    assert any(thread.name == "t2vdata-prefetch" for thread in threading.enumerate())
    mine = [thread for thread in threading.enumerate() if thread.name == "t2vdata-prefetch"]
    reader = None
    for thread in mine:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in mine)
    assert threading.active_count() <= before


def test_a_reader_opened_before_a_fork_is_refused(shards: Shards, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_as("shards", shards, spec)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RequestError, match="was opened before a fork; open one in each process"):
        reader.read(0, 0, 5)
    monkeypatch.undo()
    reader.close()
