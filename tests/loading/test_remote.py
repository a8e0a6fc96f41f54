"""Datasets behind real HTTP and S3 servers that die, truncate responses and change objects."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import servers
from servers import Nginx

from t2vdata import open_dataset, storage
from t2vdata.build.run import BuildResult
from t2vdata.errors import NotADatasetError, ShardError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.reader import open_reader
from t2vdata.loading.spec import CacheSpec
from t2vdata.storage import remote
from t2vdata.text.vocabulary import Vocabulary

Large = tuple[Path, ShardEntry]
MakeSpec = Callable[..., CacheSpec]
Serve = Callable[..., Nginx]
MiB = 1 << 20
MODES = ("shards", "ranges")


def is_right(reads: bytes | memoryview, entry: ShardEntry) -> bool:
    return hashlib.sha256(reads).hexdigest() == entry.sha256


def assert_reads_like(url: str, built: BuildResult, spec: CacheSpec) -> None:
    """Compare all that is read from ``url`` with what was built."""
    here, there = open_dataset(built.out), open_dataset(url)
    assert there.manifest == here.manifest
    assert there.index.equals(here.index)
    assert Vocabulary.load(there.vocabulary_path) == Vocabulary.load(here.vocabulary_path)
    item, expected = there["train"][17], here["train"][17]
    assert (item.key, item.captions, item.meta) == (expected.key, expected.captions, expected.meta)
    assert (item.frames.data == expected.frames.data).all()
    entries = [shard for _, shard in here.manifest.shards()]
    assert len(entries) > 2
    reader = open_reader(url, entries, cache=spec)
    reader.prefetch(range(len(entries)))
    assert all(is_right(reader.read(shard, 0, entry.num_bytes), entry) for shard, entry in enumerate(entries))
    reader.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_dataset_is_read_over_http(mode: str, built: BuildResult, serve: Serve, spec: MakeSpec) -> None:
    assert_reads_like(serve(built.out).url, built, spec(mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_a_dataset_is_read_from_s3(mode: str, built: BuildResult, s3_settings: str, spec: MakeSpec) -> None:
    store = fsspec.filesystem("s3")
    if not store.exists("bucket/set"):
        store.mkdir("bucket")
        # One after the other: a server with a new bucket refuses twelve uploads at once.
        for path in sorted(Path(built.out).iterdir()):
            store.put_file(str(path), f"bucket/set/{path.name}")
    assert_reads_like("s3://bucket/set", built, spec(mode=mode))
    assert storage.exists("s3://bucket/set")
    assert storage.is_folder("s3://bucket/set")
    assert storage.size("s3://bucket/set/nothing") is None
    assert "manifest.json" in storage.list_names("s3://bucket/set")


def test_a_dataset_is_read_from_a_server_without_ranges(built: BuildResult, spec: MakeSpec) -> None:
    with servers.plain_server(Path(built.out)) as url:
        assert_reads_like(url, built, spec())


# Connections that break


@pytest.mark.parametrize("mode", MODES)
def test_a_broken_download_resumes_at_the_byte_reached(mode: str, serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    server = serve(folder)
    with servers.cutting_proxy(server.url, cuts=3, after=3 * MiB) as line:
        reader = open_reader(line.url, [entry], cache=spec(mode=mode))
        assert is_right(reader.read(0, 0, entry.num_bytes), entry)
        reader.close()
        assert line.cuts_left == 0
    starts = [int(line.split()[3].removeprefix("bytes=").split("-")[0]) for line in server.requests(entry.name, at_least=4)]
    steps = [after - before for before, after in itertools.pairwise(starts)]
    # Each begins where the last one broke: after 3 MiB, less what lay unread in the client when it noticed.
    assert starts[0] == 0
    assert len(steps) == 3
    assert all(2 * MiB < step < 3 * MiB for step in steps)


def test_a_download_survives_a_restart_of_the_server(serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    server = serve(folder, "limit_rate 16m; limit_rate_after 4m;")
    reader = open_reader(server.url, [entry], cache=spec(retries=10, back_off_seconds=0.05))
    part = f"{spec().folder}/t2vdata-{entry.sha256}.tar.part"

    def die_and_come_back() -> None:
        while not (os.path.exists(part) and any(Path(part).read_bytes()[3 * MiB : 4 * MiB])):
            time.sleep(0.005)
        server.kill()
        time.sleep(0.3)
        server.start()

    thread = threading.Thread(target=die_and_come_back)
    thread.start()
    assert is_right(reader.read(0, 0, entry.num_bytes), entry)
    thread.join()
    reader.close()
    # nginx writes down a request when it has answered it, which the killed one never had.
    (last,) = server.requests(entry.name)
    assert int(last.split()[3].removeprefix("bytes=").split("-")[0]) >= 3 * MiB


def test_a_broken_download_without_ranges_starts_over(large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    with servers.plain_server(folder) as url, servers.cutting_proxy(url, cuts=2, after=5 * MiB) as line:
        reader = open_reader(line.url, [entry], cache=spec())
        assert is_right(reader.read(0, 0, entry.num_bytes), entry)
        reader.close()
        assert line.cuts_left == 0


def test_a_broken_download_from_s3_resumes(
    s3_settings: str, large: Large, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, entry = large
    store = fsspec.filesystem("s3")
    store.makedirs("broken", exist_ok=True)
    store.put_file(str(folder / entry.name), f"broken/{entry.name}")
    with servers.cutting_proxy(s3_settings, cuts=3, after=3 * MiB) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        store.clear_instance_cache()
        reader = open_reader("s3://broken", [entry], cache=spec())
        assert is_right(reader.read(0, 0, entry.num_bytes), entry)
        reader.close()
        assert line.cuts_left == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_that_keeps_breaking_raises(mode: str, serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    with servers.cutting_proxy(serve(folder).url, cuts=1000, after=100) as line:
        reader = open_reader(line.url, [entry], cache=spec(mode=mode, retries=2))
        with pytest.raises(StorageError, match=rf"{entry.name}.* \(at byte 0 of 12582912\); gave up after 3 attempts in a row"):
            reader.read(0, 0, entry.num_bytes)
        reader.close()
        # aiohttp tries once more by itself when an answer breaks before its body.
        assert line.cuts_left in (1000 - 3, 1000 - 6)


def test_an_unreachable_server_raises_with_the_reason(shards: tuple[Path, list[ShardEntry]], spec: MakeSpec) -> None:
    (port,) = servers.free_ports(1)
    reader = open_reader(f"http://127.0.0.1:{port}", shards[1], cache=spec(retries=0))
    with pytest.raises(StorageError, match=rf"cannot read http://127.0.0.1:{port}/.*Connect call failed.*after 1 attempt in"):
        reader.read(0, 0, 5)
    reader.close()


def test_a_silent_server_times_out(large: Large, spec: MakeSpec, serve: Serve) -> None:
    folder, entry = large
    # After the first bytes, one of them in a second.
    server = serve(folder, "limit_rate 1; limit_rate_after 4m;")
    reader = open_reader(server.url, [entry], cache=spec(mode="ranges", retries=0, timeout_seconds=0.3))
    with pytest.raises(StorageError, match=r"[Tt]imeout.*gave up after 1 attempt in a row"):
        reader.read(0, 0, entry.num_bytes)
    reader.close()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_retried(status: int, serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    server = serve(folder, f"return {status};")
    reader = open_reader(server.url, [entry], cache=spec(retries=2))
    with pytest.raises(StorageError, match=rf"cannot read .*: HTTP {status} .* gave up after 3 attempts in a row"):
        reader.read(0, 0, 5)
    reader.close()
    assert len(server.requests(entry.name, at_least=3)) == 3


# Objects that are not what they were


@pytest.mark.parametrize("mode", MODES)
def test_a_truncated_object_raises(mode: str, serve: Serve, large: Large, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entry = large
    os.truncate(folder / entry.name, 5 * MiB)
    reader = open_reader(serve(folder).url, [entry], cache=spec(mode=mode, retries=1))
    with pytest.raises(
        ShardError, match=rf"{entry.name} ends at byte 5242880, expected 12582912 bytes.*cut short or has changed"
    ):
        reader.read(0, 0, entry.num_bytes)
    reader.close()
    assert mode == "ranges" or os.listdir(tmp_path / "cache") == [f"t2vdata-{entry.sha256}.tar.bad"]


def test_a_changed_object_raises(serve: Serve, large: Large, spec: MakeSpec, tmp_path: Path) -> None:
    folder, entry = large
    other = (folder / entry.name).read_bytes()[:-1] + b"!"
    (folder / entry.name).write_bytes(other)
    actual = hashlib.sha256(other).hexdigest()
    reader = open_reader(serve(folder).url, [entry], cache=spec())
    with pytest.raises(ShardError, match=rf"has SHA-256 {actual}, expected {entry.sha256}: the object has changed .*; copy it"):
        reader.read(0, 0, 5)
    reader.close()
    assert os.listdir(tmp_path / "cache") == [f"t2vdata-{entry.sha256}.tar.bad"]


def test_an_object_replaced_during_its_download_is_downloaded_again(
    serve: Serve, large: Large, spec: MakeSpec, tmp_path: Path
) -> None:
    folder, entry = large
    right = (folder / entry.name).read_bytes()
    (folder / entry.name).write_bytes(bytes(entry.num_bytes))
    with servers.cutting_proxy(serve(folder).url, cuts=1, after=3 * MiB) as line:
        reader = open_reader(line.url, [entry], cache=spec(back_off_seconds=0.5))

        def replace() -> None:
            while line.cuts_left:
                time.sleep(0.005)
            (tmp_path / "right").write_bytes(right)
            os.replace(tmp_path / "right", folder / entry.name)

        thread = threading.Thread(target=replace)
        thread.start()
        assert is_right(reader.read(0, 0, entry.num_bytes), entry)
        thread.join()
        reader.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_shard_is_named(mode: str, serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    os.remove(folder / entry.name)
    reader = open_reader(serve(folder).url, [entry], cache=spec(mode=mode))
    with pytest.raises(ShardError, match=rf"no shard {entry.name}: no file at http.*HTTP 404.*expected 12582912 bytes there"):
        reader.read(0, 0, 5)
    reader.close()


def test_a_shard_missing_from_the_bucket_is_named(s3_settings: str, large: Large, spec: MakeSpec) -> None:
    reader = open_reader("s3://no-such-bucket", [large[1]], cache=spec())
    with pytest.raises(ShardError, match=rf"no shard {large[1].name}: no file at s3://no-such-bucket/.*bucket does not exist"):
        reader.read(0, 0, 5)
    reader.close()


# Doors that stay shut


def test_a_forbidden_file_raises_at_once(serve: Serve, large: Large, spec: MakeSpec) -> None:
    folder, entry = large
    server = serve(folder, "deny all;")
    with pytest.raises(NotADatasetError, match=r"no permission for http.*manifest\.json \(HTTP 403 Forbidden\); give fsspec"):
        open_dataset(server.url)
    reader = open_reader(server.url, [entry], cache=spec())
    with pytest.raises(StorageError, match=rf"no permission for .*{entry.name}"):
        reader.read(0, 0, 5)
    reader.close()
    assert len(server.requests(entry.name)) == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", r"no permission for s3://bucket/set/manifest\.json: .*signature.*AWS_ACCESS_KEY_ID"),
        ("AWS_ACCESS_KEY_ID", None, r"no permission for s3://bucket/set/manifest\.json: .*redentials"),
    ],
)
def test_wrong_and_missing_credentials_raise(
    name: str, value: str | None, message: str, s3_settings: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # No keys from elsewhere: the machine's own, or its provider's.
    for setting, shard in (
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "none"),
        ("AWS_SHARED_CREDENTIALS_FILE", "none"),
    ):
        monkeypatch.setenv(setting, shard if shard == "true" else str(tmp_path / shard))
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(NotADatasetError, match=message):
        open_dataset("s3://bucket/set")


@pytest.mark.parametrize(
    ("url", "module"), [("http://127.0.0.1/set", "aiohttp"), ("s3://bucket/set", "s3fs")], ids=["http", "s3"]
)
def test_a_missing_package_is_named(url: str, module: str) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None\nimport t2vdata\n"
        f"try: t2vdata.open_dataset({url!r})\nexcept t2vdata.errors.RequestError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert module in result.stdout
    assert "pip install 't2vdata[remote]'" in result.stdout


def test_a_compressing_server_is_asked_for_identity_encoding(serve: Serve, built: BuildResult) -> None:
    server = serve(built.out, "gzip on; gzip_types *; gzip_min_length 1;")
    path = storage.join(server.url, "manifest.json")
    assert storage.read_bytes(path) == (Path(built.out) / "manifest.json").read_bytes()
    assert storage.size(path) == (Path(built.out) / "manifest.json").stat().st_size


def test_a_file_at_a_url_is_read_at_any_offset(serve: Serve, large: Large) -> None:
    folder, entry = large
    url, data = storage.join(serve(folder).url, entry.name), (folder / entry.name).read_bytes()
    with storage.open_read(url) as file:
        assert file.seek(-5, os.SEEK_END) == entry.num_bytes - 5
        assert file.read() == data[-5:]
        assert file.seek(1000) == 1000
        assert file.read(6 * MiB) == data[1000 : 1000 + 6 * MiB]
        assert file.tell() == 1000 + 6 * MiB
        assert file.read(10) == data[file.tell() - 10 : file.tell()]
    assert storage.sha256(url) == entry.sha256
    assert storage.read_range(url, 77, 5) == data[77:82]
    assert b"".join(remote.blocks(url, entry.num_bytes - 3)) == data[-3:]
    assert list(remote.blocks(url, entry.num_bytes)) == []
    with pytest.raises(FileNotFoundError):
        storage.open_read(url + ".not")
