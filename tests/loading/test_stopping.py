"""Every wait for a server ends soon after the reader, the loader or the interpreter ends."""

from __future__ import annotations

import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import fsspec
import pytest
import servers

from t2vdata import storage
from t2vdata.build.run import BuildResult
from t2vdata.errors import StoppedError, StorageError
from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.reader import open_reader
from t2vdata.loading.spec import CacheSpec
from t2vdata.loading.thread_pool import ThreadPool

MakeSpec = Callable[..., CacheSpec]
# Far below the silence that a server is granted, far above what a busy machine takes.
SOON_SECONDS = 10


@pytest.fixture
def silent() -> Iterator[servers.ScriptedServer]:
    """A server that sends the first bytes of a file, and no more."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.send_header("Content-Length", "1000000")
        request.send_header("Content-Range", "bytes 0-999999/1000000")
        request.end_headers()
        request.wfile.write(b"x" * 10)
        server.ended.wait(60)

    with servers.scripted_server(answer) as server:
        yield server


def ends_soon(work: Callable[[], object], stop: Callable[[], None], is_waiting: Callable[[], bool]) -> None:
    """Start ``work`` in a thread, stop it while it waits, and raise what it raised."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    deadline = time.monotonic() + 20
    while not is_waiting():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop()
    future.result(timeout=SOON_SECONDS)


@pytest.mark.parametrize("mode", ["shards", "ranges"])
def test_closing_a_reader_ends_a_read_from_a_silent_web_server(
    mode: str, silent: servers.ScriptedServer, spec: MakeSpec
) -> None:
    entry = ShardEntry("set-train-000000.tar", 1, 1_000_000, "0" * 64)
    reader = open_reader(silent.url, [entry], cache=spec(mode=mode, timeout_seconds=300))
    with pytest.raises(StoppedError, match=r"the reader of http.*set-train-000000.tar was closed while it was reading"):
        ends_soon(lambda: reader.read(0, 0, 100), reader.close, lambda: bool(silent.requests))


def test_closing_a_reader_ends_a_read_from_a_silent_store(
    silent: servers.ScriptedServer, spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in servers.s3_environment(silent.url).items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    entry = ShardEntry("set-train-000000.tar", 1, 1_000_000, "0" * 64)
    reader = open_reader("s3://bucket/set", [entry], cache=spec())
    with pytest.raises(StoppedError, match=r"the reader of s3://bucket/set/set-train-000000.tar was closed"):
        ends_soon(lambda: reader.read(0, 0, 100), reader.close, lambda: bool(silent.requests))
    fsspec.filesystem("s3").clear_instance_cache()


def test_retries_of_the_store_and_ours_do_not_multiply(spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(503)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with servers.scripted_server(refuse) as server:
        for name, value in servers.s3_environment(server.url).items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").clear_instance_cache()
        reader = open_reader("s3://bucket/set", [ShardEntry("a.tar", 1, 100, "0" * 64)], cache=spec(retries=2))
        with pytest.raises(StorageError, match=r"cannot read s3://bucket/set/a.tar: .*gave up after 3 attempts in a row"):
            reader.read(0, 0, 100)
        reader.close()
        # botocore asks twice for each of ours.
        assert len(server.requests) == 3 * 2
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_media_file_that_is_no_longer_needed_stops_downloading(silent: servers.ScriptedServer) -> None:
    stop = threading.Event()
    with pytest.raises(StoppedError):
        ends_soon(lambda: list(storage.blocks(f"{silent.url}/a.mp4", stop=stop)), stop.set, lambda: bool(silent.requests))


def test_a_pool_runs_in_order_cancels_what_waits_and_passes_errors_on() -> None:
    pool = ThreadPool(1, name="test")
    assert pool.submit(divmod, 7, 2).result(5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result(5)
    started, go = threading.Event(), threading.Event()
    running = pool.submit(lambda: (started.set(), go.wait(5)))
    started.wait(5)
    waiting = pool.submit(print)
    closing = threading.Thread(target=pool.close)
    closing.start()
    while not waiting.cancelled():
        time.sleep(0.005)
    go.set()
    closing.join(5)
    assert running.result(5) == (None, True)


TRAIN = """
import signal, sys, t2vdata
signal.signal(signal.SIGINT, signal.default_int_handler)
from t2vdata.loading import CacheSpec, Loader, LoadSpec, Resources
resources = Resources(workers=2, processes=sys.argv[3] == "processes", cache=CacheSpec(folder=sys.argv[2]))
for batch in Loader(t2vdata.open_dataset(sys.argv[1])["train"], LoadSpec(batch_size=4), resources=resources):
    pass
"""


@pytest.mark.long
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_one_ctrl_c_ends_a_training_run_that_waits_for_a_silent_server(
    workers: str, built: BuildResult, tmp_path: Path
) -> None:
    waiting = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        data = (Path(built.out) / request.path.strip("/")).read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "GET" and request.path.endswith(".tar"):
            request.wfile.write(data[:1000])
            waiting.set()
            server.ended.wait(60)
        elif request.command == "GET":
            request.wfile.write(data)

    with servers.scripted_server(answer) as server:
        command = [sys.executable, "-c", TRAIN, server.url, str(tmp_path / "cache"), workers]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        assert waiting.wait(60)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(12) != 0
        finally:
            process.kill()
