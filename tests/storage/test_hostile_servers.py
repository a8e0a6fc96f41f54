"""Web servers that redirect elsewhere, never end, or trickle."""

from __future__ import annotations

import asyncio
import http.server
from collections.abc import Callable

import pytest
import servers
from yarl import URL

from t2vdata import open_dataset, storage
from t2vdata.errors import NotADatasetError, StorageError, TransientError
from t2vdata.format import manifest
from t2vdata.storage import remote
from t2vdata.storage.redirects import ALLOWED_HOSTS_VARIABLE, why_not, why_not_address

Request = http.server.BaseHTTPRequestHandler


def redirecting(target: Callable[[], str]) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        if request.path == "/here":
            request.send_response(200)
            request.send_header("Content-Length", "5")
            request.end_headers()
            request.wfile.write(b"hello" if request.command == "GET" else b"")
            return
        request.send_response(302)
        request.send_header("Location", target())
        request.send_header("Connection", "close")
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def test_a_redirect_on_the_same_host_is_followed() -> None:
    with servers.scripted_server(redirecting(lambda: "/here")) as server:
        assert storage.read_bytes(f"{server.url}/there") == b"hello"
        assert storage.size(f"{server.url}/there") == 5


def test_redirects_in_a_circle_are_an_error() -> None:
    with (
        servers.scripted_server(redirecting(lambda: "/there")) as server,
        pytest.raises(StorageError, match=r"/there redirects \d+ times or in a circle; open the address of the file itself"),
    ):
        storage.read_bytes(f"{server.url}/there")


def test_a_manifest_is_asked_for_again_while_a_server_is_busy() -> None:
    num_requests = 0

    def answer(request: Request) -> None:
        nonlocal num_requests
        num_requests += 1
        is_busy = num_requests < 3
        request.send_response(503 if is_busy else 200)
        request.send_header("Content-Length", "0" if is_busy else "5")
        request.end_headers()
        request.wfile.write(b"" if is_busy else b"hello")

    with servers.scripted_server(answer) as server, pytest.raises(NotADatasetError, match="it is not JSON"):
        open_dataset(server.url)
    assert num_requests == 3


def test_a_redirect_to_another_host_is_refused_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        servers.scripted_server(redirecting(lambda: "/here")) as other,
        servers.scripted_server(redirecting(lambda: f"{other.url}/here")) as server,
    ):
        refused = rf"redirects to {other.url}/here, which is not followed: that is another host"
        for read in (storage.read_bytes, storage.size, storage.exists, storage.list_names, storage.sha256):
            with pytest.raises(StorageError, match=refused):
                read(f"{server.url}/there")
        with pytest.raises(NotADatasetError, match=r"T2VDATA_REDIRECT_HOSTS=127\.0\.0\.1"):
            open_dataset(server.url)
        assert other.requests == []
        monkeypatch.setenv(ALLOWED_HOSTS_VARIABLE, "example.org, 127.0.0.1")
        assert storage.read_bytes(f"{server.url}/there") == b"hello"


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("http://a.org/x", "http://a.org/y", None),
        ("http://a.org/x", "https://a.org/x", None),
        ("https://a.org/x", "http://a.org/x", "from https to http"),
        ("https://a.org/x", "https://a.org:8443/x", "another host"),
        ("https://a.org/x", "https://b.org/x", "another host"),
        ("https://a.org/x", "file:///etc/passwd", "expected http"),
        ("https://huggingface.co/d/resolve/main/x", "https://cdn-lfs.hf.co/x", None),
        ("https://github.com/a/releases/x", "https://objects.githubusercontent.com/x", None),
        ("https://huggingface.co/x", "https://hf.co.evil.org/x", "another host"),
    ],
)
def test_which_redirects_are_followed(source: str, target: str, reason: str | None) -> None:
    answer = why_not(URL(source), URL(target))
    assert answer is None if reason is None else reason in str(answer)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fe80::1]", "192.168.0.9"])
def test_a_public_host_never_leads_to_a_private_address(address: str) -> None:
    public, private = URL("http://8.8.8.8/x"), URL(f"http://{address}/x")
    assert "private address" in str(asyncio.run(why_not_address(public, private)))
    assert asyncio.run(why_not_address(private, public)) is None
    assert asyncio.run(why_not_address(public, URL("http://1.1.1.1/x"))) is None


def test_a_manifest_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while request.command == "GET" and not server.ended.is_set():
            request.wfile.write(b" " * 65536)

    with (
        servers.scripted_server(endless) as server,
        pytest.raises(StorageError, match=r"/index.parquet sends more than 1000000 bytes"),
        storage.fetched(f"{server.url}/index.parquet", max_bytes=1_000_000),
    ):
        pass
    message = r"/manifest.json sends more than 1000000 bytes; expected a smaller file there"
    monkeypatch.setattr(manifest, "MAX_BYTES", 1_000_000)
    with servers.scripted_server(endless) as server, pytest.raises(NotADatasetError, match=message):
        open_dataset(server.url)


def test_what_a_server_sends_is_quoted_in_one_short_line() -> None:
    def babble(request: Request) -> None:
        request.wfile.write(b"nonsense\r\n" * 5000)

    with (
        servers.scripted_server(babble) as server,
        pytest.raises(TransientError, match="Bad status line") as caught,
    ):
        list(remote.blocks(f"{server.url}/a.tar"))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_server_that_trickles_counts_as_broken() -> None:
    def trickle(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        while not server.ended.wait(0.02):
            request.wfile.write(b"x")

    with servers.scripted_server(trickle) as server, pytest.raises(TransientError, match="less than 1000 bytes per second"):
        list(remote.blocks(f"{server.url}/a.tar", timeout_seconds=0.3))


def test_a_header_that_trickles_counts_as_silence() -> None:
    def trickle(request: Request) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not server.ended.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    with servers.scripted_server(trickle) as server, pytest.raises(TransientError, match=r"no answer within 0\.3 s"):
        list(remote.blocks(f"{server.url}/a.tar", timeout_seconds=0.3))
