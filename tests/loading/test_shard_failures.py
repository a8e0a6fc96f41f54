"""A bad remote shard is downloaded a few times, not once for each of its clips."""

from __future__ import annotations

import http.server
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import servers

from t2vdata.errors import ShardError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.reader import open_reader
from t2vdata.loading.shard_failures import REMEMBER_SECONDS, ShardFailures
from t2vdata.loading.spec import CacheSpec

Shards = tuple[Path, list[ShardEntry]]
MakeSpec = Callable[..., CacheSpec]


def serving(folder: Path) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Answer with files of a folder, and their ranges."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        path = folder / request.path.strip("/")
        if not path.exists():
            request.send_error(404)
            return
        data = path.read_bytes()
        start, end = map(int, re.findall(r"\d+", request.headers["Range"]))
        request.send_response(206 if start < len(data) else 416)
        part = data[start : end + 1]
        request.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(part)))
        request.end_headers()
        request.wfile.write(part)

    return answer


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "short":
        os.truncate(path, 1000)
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.mark.parametrize("how", ["missing", "short", "changed"])
def test_a_bad_shard_is_downloaded_a_few_times_for_all_its_clips(how: str, shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    damage(folder / entries[1].name, how)
    with servers.scripted_server(serving(folder)) as server:
        since = 0.0
        readers = [open_reader(server.url, entries, cache=spec(retries=5), since=since) for _ in range(3)]
        readers[0].prefetch([1, 0])
        messages = set()
        for offset in range(20):
            for reader in readers:
                with pytest.raises(ShardError) as caught:
                    reader.read(1, offset, 10)
                messages.add(str(caught.value))
        assert len(messages) == 1
        assert len([path for path in server.requests if entries[1].name in path]) <= 4
        assert len(readers[1].read(0, 0, 10)) == 10
        for reader in readers:
            reader.close()


def test_a_missing_shard_is_asked_for_once_without_a_cache(shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    damage(folder / entries[1].name, "missing")
    with servers.scripted_server(serving(folder)) as server:
        reader = open_reader(server.url, entries, cache=spec(mode="ranges"))
        for offset in range(20):
            with pytest.raises(ShardError, match=r"no shard set-train-000001.tar: .*HTTP 404"):
                reader.read(1, offset, 10)
        reader.close()
        assert len(server.requests) == 1


def test_a_loader_that_is_opened_after_the_repair_downloads_the_shard(shards: Shards, spec: MakeSpec) -> None:
    folder, entries = shards
    good = (folder / entries[1].name).read_bytes()
    damage(folder / entries[1].name, "changed")
    with servers.scripted_server(serving(folder)) as server:
        reader = open_reader(server.url, entries, cache=spec())
        with pytest.raises(ShardError, match="has SHA-256"):
            reader.read(1, 0, 10)
        (folder / entries[1].name).write_bytes(good)
        with pytest.raises(ShardError, match="has SHA-256"):
            reader.read(1, 0, 10)
        later = open_reader(server.url, entries, cache=spec())
        assert bytes(later.read(1, 0, 10)) == good[:10]
        # It is in the cache now, for all.
        assert bytes(reader.read(1, 0, 10)) == good[:10]
        reader.close()
        later.close()
        assert not list(Path(str(spec().folder)).glob("*.bad"))


def test_a_failure_is_forgotten_after_a_while(tmp_path: Path) -> None:
    clock = [1000.0]
    path = str(tmp_path / "note.bad")
    mine = ShardFailures(since=0.0, now=lambda: clock[0])
    other = ShardFailures(since=0.0, now=lambda: clock[0])
    later = ShardFailures(since=1001.0, now=lambda: clock[0])
    mine.remember(path, "http://a/s.tar", ShardError("it is short"))
    for failures in (mine, other):
        with pytest.raises(ShardError, match="it is short"):
            failures.check(path, "http://a/s.tar", waited_since=clock[0])
    later.check(path, "http://a/s.tar", waited_since=clock[0])
    # A mirror may be sound.
    other.check(path, "http://b/s.tar", waited_since=clock[0])
    clock[0] += REMEMBER_SECONDS
    for failures in (mine, other):
        failures.check(path, "http://a/s.tar", waited_since=clock[0])


def test_a_server_that_is_away_is_asked_again_except_by_those_who_waited(tmp_path: Path) -> None:
    failures = ShardFailures(since=0.0, now=lambda: 1000.0)
    path = str(tmp_path / "note.bad")
    failures.remember(path, "http://a/s.tar", StorageError("no answer"))
    failures.check(path, "http://a/s.tar", waited_since=1000.1)
    with pytest.raises(StorageError, match="no answer"):
        failures.check(path, "http://a/s.tar", waited_since=990.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("note", [b"", b"{}", b"[1]", b"\xff", b'{"seconds": "x", "message": 1, "url": 2}'])
def test_a_damaged_note_is_ignored(note: bytes, tmp_path: Path) -> None:
    path = tmp_path / "note.bad"
    path.write_bytes(note)
    ShardFailures(since=0.0).check(str(path), "http://a/s.tar", waited_since=0.0)
