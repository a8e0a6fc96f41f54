"""The cache of whole shards: bounded, shared, verified, and intact after a kill."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import Nginx

from t2vdata.errors import RequestError, ShardError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.cache import default_folder
from t2vdata.loading.locks import locked
from t2vdata.loading.reader import open_reader
from t2vdata.loading.spec import CacheSpec

Shards = tuple[Path, list[ShardEntry]]
Large = tuple[Path, ShardEntry]
MakeSpec = Callable[..., CacheSpec]
Serve = Callable[..., Nginx]
MiB = 1 << 20

# Reads the first bytes of a shard, and so fetches it.
FETCH = """
import sys
from t2vdata.loading.spec import CacheSpec
from t2vdata.loading.locks import locked
from t2vdata.loading.reader import open_reader
from t2vdata.format.manifest import ShardEntry
url, name, num_bytes, sha256, folder = sys.argv[1:]
reader = open_reader(url, [ShardEntry(name, 1, int(num_bytes), sha256)], cache=CacheSpec(folder=folder))
print(bytes(reader.read(0, 0, 8)).hex())
"""


def fetching(url: str, entry: ShardEntry, folder: Path) -> subprocess.Popen[str]:
    words = [url, entry.name, str(entry.num_bytes), entry.sha256, str(folder)]
    return subprocess.Popen([sys.executable, "-c", FETCH, *words], stdout=subprocess.PIPE, text=True)


def kept(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def cached_name(entry: ShardEntry) -> str:
    return f"t2vdata-{entry.sha256}.tar"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


# Settings


def test_the_cache_is_in_the_platforms_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == str(tmp_path / "t2vdata")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert default_folder() == str(Path.home() / ".cache" / "t2vdata")


def test_without_a_home_folder_the_error_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # A container that runs as a number has no entry in passwd.
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(StorageError, match=r"this user has no home folder; name one with CacheSpec\(folder=.*XDG_CACHE_HOME"):
        default_folder()


def test_the_cache_stays_where_it_was_when_the_working_directory_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = CacheSpec(folder="cache")
    monkeypatch.chdir("/")
    assert spec.folder == str(tmp_path / "cache")


def test_a_full_cache_is_read_without_writing_to_its_folder(shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    settings = spec()
    for _ in range(2):
        reader = open_reader(f"file://{folder}", entries, cache=settings)
        before = os.stat(str(settings.folder)).st_mtime_ns
        reader.prefetch([0, 1, 2, 3])
        assert [len(reader.read(shard, 0, 9)) for shard in range(4)] == [9] * 4
        reader.close()
    # A lock file would have changed it.
    assert os.stat(str(settings.folder)).st_mtime_ns == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "files"}, r"mode of the cache: expected 'shards' or 'ranges', got 'files'"),
        ({"max_bytes": 0}, "max_bytes of the cache: expected a whole number of at least 1, got 0"),
        ({"max_bytes": 5e9}, "max_bytes of the cache: expected a whole number of at least 1, got 5000000000.0"),
        ({"fetch_ahead": -1}, "fetch_ahead of the cache: expected a whole number of at least 0, got -1"),
        ({"retries": -1}, "retries of the cache: expected a whole number of at least 0, got -1"),
        ({"back_off_seconds": -0.5}, r"back_off_seconds of the cache: expected 0 or more, got -0\.5"),
        ({"timeout_seconds": 0}, "timeout_seconds of the cache: expected more than 0, got 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CacheSpec(**settings)  # type: ignore[arg-type]


# What is kept


def test_a_shard_is_cached_by_hash_and_downloaded_once(serve: Serve, shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    server = serve(folder)
    for _ in range(2):
        reader = open_reader(server.url, entries, cache=spec())
        assert hashlib.sha256(reader.read(0, 0, MiB)).hexdigest() == entries[0].sha256
        reader.close()
    assert kept(tmp_path / "cache") == {cached_name(entries[0])}
    assert len(server.requests(entries[0].name)) == 1


def test_equal_names_in_two_datasets_are_not_confused(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, (first, second, *_) = shards
    other = tmp_path / "other"
    other.mkdir()
    (other / first.name).write_bytes((folder / second.name).read_bytes())
    renamed = ShardEntry(first.name, 1, second.num_bytes, second.sha256)
    for location, entry in ((folder, first), (other, renamed)):
        reader = open_reader(f"file://{location}", [entry], cache=spec())
        assert bytes(reader.read(0, 0, 99)) == (location / first.name).read_bytes()[:99]
        reader.close()
    assert kept(tmp_path / "cache") == {cached_name(first), cached_name(renamed)}


def test_a_damaged_file_in_the_cache_is_downloaded_again(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / cached_name(entries[0])).write_bytes(b"short")
    reader = open_reader(f"file://{folder}", entries, cache=spec())
    assert bytes(reader.read(0, 0, MiB)) == (folder / entries[0].name).read_bytes()
    reader.close()


def test_shards_that_are_read_next_are_downloaded_in_advance(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    reader = open_reader(f"file://{folder}", entries, cache=spec(fetch_ahead=2))
    reader.prefetch([3, 1, 0, 2])
    until(lambda: kept(tmp_path / "cache") == {cached_name(entries[3]), cached_name(entries[1])})
    time.sleep(0.05)  # No third shard: two wait to be read.
    assert len(kept(tmp_path / "cache")) == 2
    reader.read(3, 0, 5)
    until(lambda: cached_name(entries[0]) in kept(tmp_path / "cache"))
    reader.close()


def test_an_error_of_a_prefetch_is_raised_by_the_read(shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    (folder / entries[1].name).write_bytes(bytes(MiB))
    os.remove(folder / entries[2].name)
    reader = open_reader(f"file://{folder}", entries, cache=spec(fetch_ahead=3))
    reader.prefetch([0, 1, 2])
    assert len(reader.read(0, 0, 5)) == 5
    with pytest.raises(ShardError, match=rf"has SHA-256 \w+, expected {entries[1].sha256}"):
        reader.read(1, 0, 5)
    with pytest.raises(ShardError, match=rf"no shard {entries[2].name}"):
        reader.read(2, 0, 5)
    reader.close()


# What is evicted


def test_the_least_recently_used_shards_are_evicted(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    reader = open_reader(f"file://{folder}", entries, cache=spec(max_bytes=3 * MiB))
    for shard in (0, 1, 2, 0, 3):
        reader.read(shard, 0, 5)
    assert kept(tmp_path / "cache") == {cached_name(entries[shard]) for shard in (0, 2, 3)}
    for shard in range(4):
        assert bytes(reader.read(shard, 5, 50)) == (folder / entries[shard].name).read_bytes()[5:55]
    reader.close()


def test_prefetching_never_exceeds_the_size_of_the_cache(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    reader = open_reader(f"file://{folder}", entries, cache=spec(max_bytes=2 * MiB, fetch_ahead=4))
    for number in range(60):
        reader.prefetch([(number + step) % 4 for step in range(4)])
        assert bytes(reader.read(number % 4, 0, 9)) == (folder / entries[number % 4].name).read_bytes()[:9]
        # Under the lock, during which nothing is evicted and no download starts.
        with locked(str(tmp_path / "cache" / "t2vdata.lock")):
            names = {name.removesuffix(".part") for name in kept(tmp_path / "cache") if name.endswith((".tar", ".part"))}
        assert 1 <= len(names) <= 2
    reader.close()


def test_shards_in_use_are_not_evicted(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    train, test = (open_reader(f"file://{folder}", entries, cache=spec(max_bytes=2 * MiB)) for _ in range(2))
    part = train.read(0, 0, MiB)
    for shard in (1, 2, 3):
        test.read(shard, 0, 5)
    assert kept(tmp_path / "cache") == {cached_name(entries[0]), cached_name(entries[3])}
    assert hashlib.sha256(part).hexdigest() == entries[0].sha256
    del part
    test.read(1, 0, 5)
    assert kept(tmp_path / "cache") == {cached_name(entries[1]), cached_name(entries[3])}
    train.close()
    test.close()


def test_a_read_exceeds_the_size_if_every_shard_is_in_use(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    reader = open_reader(f"file://{folder}", entries, cache=spec(max_bytes=2 * MiB))
    parts = [reader.read(shard, 0, MiB) for shard in range(3)]
    assert [hashlib.sha256(part).hexdigest() for part in parts] == [entry.sha256 for entry in entries[:3]]
    assert len(kept(tmp_path / "cache")) == 3
    parts.clear()
    reader.read(3, 0, 5)
    assert len(kept(tmp_path / "cache")) == 2
    reader.close()


def test_other_files_in_the_folder_are_never_touched(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entries = shards
    mine = {"notes.txt", "t2vdata-abc.tar", "x.tar.part", f"{entries[0].sha256}.tar", f"my-{cached_name(entries[0])}", "x.lock"}
    (tmp_path / "cache").mkdir()
    for name in mine:
        (tmp_path / "cache" / name).write_bytes(b"mine")
    reader = open_reader(f"file://{folder}", entries, cache=spec(max_bytes=MiB))
    for shard in range(4):
        reader.read(shard, 0, 5)
    reader.close()
    assert kept(tmp_path / "cache") == mine | {cached_name(entries[3])}


def test_a_shard_larger_than_the_cache_is_refused(shards: Shards, spec: MakeSpec) -> None:
    reader = open_reader(f"file://{shards[0]}", shards[1], cache=spec(max_bytes=MiB - 1))
    with pytest.raises(
        RequestError, match=r"1048575 bytes cannot hold set-train-000000\.tar of 1048576; raise it, or use mode='ranges'"
    ):
        reader.read(0, 0, 5)
    reader.close()


# What goes wrong


def test_a_full_disk_raises_and_leaves_no_file(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    reader = open_reader(f"file://{shards[0]}", shards[1], cache=spec())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The limit stands in for a full disk: the kernel refuses the write in the same place.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MiB // 2, hard))
    try:
        with pytest.raises(
            StorageError, match=r"cannot store shards in .*cache: File too large; free space there, lower max_bytes"
        ):
            reader.read(0, 0, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(tmp_path / "cache") == set()
    assert len(reader.read(0, 0, 5)) == 5
    reader.close()


def test_a_cache_folder_that_is_a_file_is_refused(shards: Shards, spec: MakeSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"cannot store shards in .*file: File exists; give CacheSpec another folder"):
        open_reader(f"file://{shards[0]}", shards[1], cache=spec(folder=str(tmp_path / "file")))


def test_two_processes_download_a_shard_once(serve: Serve, large: Large, tmp_path: Path) -> None:
    folder, entry = large
    server = serve(folder, "limit_rate 8m;")
    processes = [fetching(server.url, entry, tmp_path / "cache") for _ in range(2)]
    first = (folder / entry.name).read_bytes()[:8].hex()
    assert [process.communicate(timeout=30)[0].strip() for process in processes] == [first, first]
    assert len(server.requests(entry.name)) == 1
    assert kept(tmp_path / "cache") == {cached_name(entry)}


def test_a_process_killed_during_a_download_leaves_no_damage(
    serve: Serve, large: Large, spec: MakeSpec, tmp_path: Path
) -> None:
    folder, entry = large
    server = serve(folder, "limit_rate 4m;")
    part = tmp_path / "cache" / f"{cached_name(entry)}.part"
    process = fetching(server.url, entry, tmp_path / "cache")
    until(lambda: part.exists() and any(part.read_bytes()[: MiB // 2]))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert kept(tmp_path / "cache") == {f"{cached_name(entry)}.part", f"{cached_name(entry)}.lock"}
    # Another reader removes the partial files, although it needs none of them.
    open_reader(server.url, [entry], cache=spec()).close()
    assert kept(tmp_path / "cache") == set()
    server.kill()
    server.start()
    reader = open_reader(server.url, [entry], cache=spec())
    assert hashlib.sha256(reader.read(0, 0, entry.num_bytes)).hexdigest() == entry.sha256
    reader.close()
    assert kept(tmp_path / "cache") == {cached_name(entry)}


def test_a_waiting_process_takes_over_from_a_killed_one(serve: Serve, large: Large, tmp_path: Path) -> None:
    folder, entry = large
    server = serve(folder, "limit_rate 4m;")
    first = fetching(server.url, entry, tmp_path / "cache")
    until(lambda: (tmp_path / "cache" / f"{cached_name(entry)}.part").exists())
    second = fetching(server.url, entry, tmp_path / "cache")
    time.sleep(0.7)
    first.kill()
    first.communicate()
    assert second.communicate(timeout=30)[0].strip() == (folder / entry.name).read_bytes()[:8].hex()
    assert kept(tmp_path / "cache") == {cached_name(entry)}


def test_closing_a_reader_ends_its_downloads(serve: Serve, large: Large, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entry = large
    server = serve(folder, "limit_rate 1m;")
    reader = open_reader(server.url, [entry], cache=spec())
    reader.prefetch([0])
    until(lambda: len(kept(tmp_path / "cache")) == 2)
    reader.close()
    until(lambda: kept(tmp_path / "cache") == set())
