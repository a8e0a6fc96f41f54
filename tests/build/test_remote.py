"""Builds into an object store guarantee the same as on a disk, with a real S3 server that dies, is slow, or refuses."""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pytest
import servers
from build_process import FLAGS, build_completely, kill_group, start_build, wait_for_shards
from media import video_files
from support import TINY, hashes, t2vdata, tiny_spec

from t2vdata import storage
from t2vdata.build.append import retry_failed
from t2vdata.build.checkpoint import FOLDER
from t2vdata.build.records import Records
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import OtherSpecError, StorageError, StoreAwayError
from t2vdata.format import manifest
from t2vdata.inspect.verify import verify
from t2vdata.storage import Folder, lease, retry, upload

MiB = 1 << 20


@pytest.fixture
def out(s3_settings: str) -> str:
    """An empty folder in a bucket."""
    fsspec.filesystem("s3").makedirs("builds", exist_ok=True)
    return f"s3://builds/{uuid.uuid4().hex}"


@pytest.fixture
def brief_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that expire soon."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.3)


def remote_hashes(url: str) -> dict[str, str]:
    """Return {path below the folder: SHA-256} of every object."""
    store = fsspec.filesystem("s3", use_listings_cache=False)
    top = url.removeprefix("s3://")
    return {path.removeprefix(f"{top}/"): storage.sha256(f"s3://{path}") for path in sorted(store.find(top))}


def unfinished_uploads(url: str) -> list[str]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    uploads = fsspec.filesystem("s3").list_multipart_uploads(bucket)
    return [upload["Key"] for upload in uploads if upload["Key"].startswith(prefix)]


def open_files(pid: int) -> Iterator[str]:
    """Yield the files that a process and its children have open, including nameless ones."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                yield os.readlink(link)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of the dataset that ``start_build(out, 1500)`` builds."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    build_completely(folder, 1500)
    return hashes(folder)


# Same spec, same bytes, and nothing left over


def test_a_build_into_s3_has_the_bytes_of_one_on_disk(built: BuildResult, out: str) -> None:
    result = build_dataset(tiny_spec(), out, num_workers=2)
    assert remote_hashes(out) == hashes(Path(built.out))
    assert result.clips_built == 78
    assert result.manifest == built.manifest
    assert verify(out).is_sound
    assert build_dataset(tiny_spec(), out, num_workers=1).clips_built == 0


def test_a_build_into_any_other_store_of_fsspec_has_the_same_bytes(built: BuildResult) -> None:
    build_dataset(tiny_spec(), "memory://any/out", num_workers=1)
    store = fsspec.filesystem("memory")
    names = hashes(Path(built.out))
    assert {Path(path).name for path in store.find("/any/out")} == set(names)
    assert all(storage.sha256(f"memory://any/out/{name}") == digest for name, digest in names.items())
    store.rm("/any", recursive=True)


def test_the_command_line_builds_into_s3(out: str, expected: dict[str, str]) -> None:
    done = t2vdata("build", "mnist-motion", "--n", "1500", "--out", out, "--workers", "2", "--shard-size", "25", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert out in done.stdout
    assert remote_hashes(out) == expected


def test_lost_files_of_a_finished_dataset_in_s3_are_restored(built: BuildResult, out: str) -> None:
    build_dataset(tiny_spec(), out, num_workers=1)
    storage.remove(f"{out}/mnist-motion-val-000000.tar")
    storage.write_whole(f"{out}/mnist-motion-train-000001.tar", b"cut short")
    assert build_dataset(tiny_spec(), out, num_workers=1).clips_built == 6 + 20
    storage.remove(f"{out}/index.parquet")
    build_dataset(tiny_spec(), out, num_workers=1)
    assert remote_hashes(out) == hashes(Path(built.out))


def test_another_spec_in_s3_is_refused_and_nothing_changes(out: str) -> None:
    build_dataset(tiny_spec(), out, num_workers=1)
    before = remote_hashes(out)
    with pytest.raises(OtherSpecError, match=r"options.n is 60 there, 70 here.*choose another --out"):
        build_dataset(tiny_spec(n=70), out, num_workers=1)
    storage.write_whole(f"{out}-thesis/chapter-1.txt", b"once")
    with pytest.raises(OtherSpecError, match=r"not empty and not a t2vdata build: it holds chapter-1\.txt"):
        build_dataset(tiny_spec(), f"{out}-thesis", num_workers=1)
    assert remote_hashes(out) == before


def test_failed_clips_are_retried_in_s3(out: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(video_files.make("h264"))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4,one\nb.mp4,two\n")
    spec = BuildSpec("table", options={"table": tmp_path / "clips.csv", "frames": 4, "size": 16})
    first = build_dataset(spec, out, num_workers=1, max_failures=1.0)
    assert (first.manifest.tally.kept, first.manifest.tally.num_failed) == (1, 1)
    (tmp_path / "b.mp4").write_bytes(video_files.make("h264"))
    again = retry_failed(spec, out, num_workers=1)
    assert again.manifest.tally.kept == 2
    assert verify(out).is_sound
    assert not [path for path in remote_hashes(out) if FOLDER in path]


# Large shards are uploaded in parts


def test_a_large_file_is_uploaded_in_parts_and_appears_when_complete(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PART", 5 * MiB)
    data = np.random.default_rng(0).bytes(12 * MiB)
    with storage.written_whole(f"{out}/large.tar") as file:
        file.write(data)
        assert not storage.exists(f"{out}/large.tar")
    assert storage.read_bytes(f"{out}/large.tar") == data
    assert unfinished_uploads(out) == []


def test_an_upload_that_fails_leaves_neither_object_nor_parts(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PART", 5 * MiB)

    class Torn:
        """A file whose disk fails after the first part."""

        def __init__(self) -> None:
            self.parts = iter([bytes(5 * MiB)])

        def seek(self, *position: int) -> int:
            return 12 * MiB

        def read(self, size: int) -> bytes:
            for part in self.parts:
                return part
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload.put(Torn(), f"{out}/torn.tar")
    assert not storage.exists(f"{out}/torn.tar")
    assert unfinished_uploads(out) == []


def test_parts_of_uploads_that_a_killed_build_left_are_discarded_by_the_next(out: str) -> None:
    store = fsspec.filesystem("s3")
    neighbour = f"{out}-neighbour"
    for folder in (out, neighbour):
        file = store.open(f"{folder}/mnist-motion-train-000000.tar", "wb", block_size=5 * MiB, autocommit=False)
        file.write(bytes(6 * MiB))
        file.closed = True
    assert len(unfinished_uploads(out)) == 2
    build_dataset(tiny_spec(n=5, holdout=0), out, num_workers=1)
    # The neighbour's name begins with ours.
    assert unfinished_uploads(out) == [f"{neighbour.removeprefix('s3://builds/')}/mnist-motion-train-000000.tar"]


def test_scratch_files_are_gone_even_when_a_build_is_killed(out: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = start_build(out, 40_000, shard_size=200, env={**os.environ, "TMPDIR": str(scratch)})
    wait_for_shards(out, 3)  # by then each worker has tried the folder: Python's tempfile writes a small named file
    held: list[str] = []
    while not held:
        assert process.poll() is None
        held = [name for name in open_files(process.pid) if str(scratch) in name]
    # Nameless files: only the processes know them.
    assert all(name.endswith("(deleted)") for name in held)
    kill_group(process)
    assert [path for path in scratch.iterdir() if path.is_file()] == []


def test_a_full_scratch_disk_is_a_clear_error(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/dev/full-of-nothing")
    with pytest.raises(StorageError, match=r"cannot keep s3://.* until it is uploaded: .*make room there, or set TMPDIR"):
        build_dataset(tiny_spec(), out, num_workers=1)


# Killed, and stores that misbehave


@pytest.mark.long
def test_a_build_killed_at_some_moments_gives_the_same_bytes_in_s3(out: str, expected: dict[str, str]) -> None:
    moments = random.Random(0)
    for _ in range(3):
        process = start_build(out, 1500)
        time.sleep(moments.uniform(0.8, 2.0))
        kill_group(process)
    build_completely(out, 1500)
    assert remote_hashes(out) == expected


def test_a_build_resumes_from_the_finished_shards(out: str) -> None:
    # Far more shards than are built before it is killed, however slow this test is.
    process = start_build(out, 20_000)
    wait_for_shards(out, 5)
    kill_group(process)
    reported = set(Records(Folder(out).below(FOLDER), "").report_names())
    assert len(reported) >= 3
    store = fsspec.filesystem("s3", use_listings_cache=False)
    before = {name: store.info(f"{out}/{name}")["LastModified"] for name in reported}
    process = start_build(out, 20_000)
    wait_for_shards(out, len(reported) + 3)
    kill_group(process)
    assert {name: store.info(f"{out}/{name}")["LastModified"] for name in reported} == before


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.S3Server]:
    """An S3 server that a test may kill, with a bucket."""
    server = servers.S3Server(tmp_path / "own-s3")
    server.start()
    for name, value in servers.s3_environment(server.endpoint).items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("builds")
    yield server
    server.kill()
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.long
def test_a_build_waits_for_a_store_that_stops_and_comes_back(own_server: servers.S3Server, expected: dict[str, str]) -> None:
    out = "s3://builds/out"
    process = start_build(out, 1500)
    wait_for_shards(out, 3)
    own_server.kill()
    time.sleep(3)
    assert process.poll() is None
    own_server.start()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert remote_hashes(out) == expected


def test_a_store_that_stays_unavailable_ends_the_build_and_says_what_to_do(
    own_server: servers.S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    own_server.kill()
    with pytest.raises(StorageError, match=r"gave up after 0 s; run the same command again, finished shards are kept"):
        build_dataset(tiny_spec(), "s3://builds/out", num_workers=1)


@pytest.mark.long
def test_a_slow_store_that_refuses_every_fifth_request_gets_the_same_bytes(
    s3: str, out: str, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every fifth request, and a run of seven, more than a client retries by itself.
    with servers.unreliable_proxy(s3, refuse=lambda n: n % 5 == 2 or 20 <= n < 27, delay_seconds=0.005) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()
        build_dataset(tiny_spec(), out, num_workers=1)
        assert proxy.refused > 10
        assert remote_hashes(out) == hashes(Path(built.out))
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def remote_clips(out: str, tmp_path: Path) -> BuildSpec:
    """Six videos in the bucket, in a table here."""
    video = video_files.make("h264")
    urls = [f"{out}-raw/clip-{number}.mp4" for number in range(6)]
    for url in urls:
        storage.write_whole(url, video)
    (tmp_path / "clips.csv").write_text("path,caption\n" + "".join(f"{url},something moves\n" for url in urls))
    return BuildSpec("table", options={"table": tmp_path / "clips.csv", "frames": 4, "size": 16}, shard_size=2)


@pytest.mark.long
def test_a_build_waits_for_raw_files_in_a_store_that_is_briefly_unavailable(
    s3: str, remote_clips: BuildSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with servers.unreliable_proxy(s3, refuse=lambda n: 3 <= n < 12) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()
        result = build_dataset(remote_clips, tmp_path / "set", num_workers=1)
        assert proxy.refused == 9
    assert result.manifest.tally.kept == 6


def test_a_store_of_raw_files_that_stays_unavailable_ends_the_build_and_rejects_no_clip(
    s3: str, remote_clips: BuildSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(retry, "PATIENCE_SECONDS", 0.1)
    with servers.unreliable_proxy(s3, refuse=lambda n: n >= 3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fsspec.filesystem("s3").clear_instance_cache()
        with pytest.raises(StoreAwayError, match=r"clip-\d.mp4.*gave up after 0 s; run the same command again"):
            build_dataset(remote_clips, tmp_path / "set", num_workers=1)
    assert not (tmp_path / "set" / "rejects.parquet").exists()


# Two builds at once


def test_a_second_build_into_a_folder_in_s3_is_refused_with_the_owner(out: str) -> None:
    process = start_build(out, 20_000)
    wait_for_shards(out, 1)
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 20_000}, shard_size=25)
    with pytest.raises(OtherSpecError, match=rf"process {process.pid} on .* is building into {out}; wait for it"):
        build_dataset(spec, out, num_workers=1)
    kill_group(process)


def test_of_many_processes_that_take_a_lock_at_once_one_gets_it(out: str, brief_lease: None) -> None:
    held, refused = list[int](), list[int]()
    together, done = threading.Barrier(4), threading.Barrier(4)

    def take(number: int) -> None:
        together.wait()
        try:
            with lease.held(Folder(out), "build/lock"):
                held.append(number)
                done.wait()
        except OtherSpecError:
            refused.append(number)
            done.wait()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 3)
    assert not storage.exists(f"{out}/build/lock")


def foreign_lock(out: str, **changes: object) -> str:
    path = f"{out}/{FOLDER}/lock"
    holder = {"owner": "process 7 on elsewhere", "token": "theirs", "machine": "elsewhere", "process": 7, **changes}
    storage.write_whole(path, json.dumps(holder).encode())
    return path


def test_the_lock_of_a_killed_build_on_another_machine_expires(out: str, brief_lease: None, built: BuildResult) -> None:
    foreign_lock(out)
    start = time.monotonic()
    build_dataset(tiny_spec(), out, num_workers=1)
    assert time.monotonic() - start > lease.LEASE_SECONDS
    assert remote_hashes(out) == hashes(Path(built.out))


def test_a_build_that_lost_its_folder_stops_before_it_finishes(out: str, brief_lease: None) -> None:
    def interfere(_: object) -> None:
        foreign_lock(out)
        time.sleep(0.5)

    with pytest.raises(OtherSpecError, match=r"process 7 on elsewhere took over s3://.* continues from the finished shards"):
        build_dataset(tiny_spec(), out, num_workers=1, on_progress=interfere)
    assert not storage.exists(f"{out}/{manifest.MANIFEST}")
    # The lock belongs to the other build and stays.
    assert storage.exists(f"{out}/{FOLDER}/lock")
