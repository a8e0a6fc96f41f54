"""`Prefetcher`: a few files ahead of the decoder, within a budget of bytes, each once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from t2vdata import storage
from t2vdata.storage import prefetch
from t2vdata.storage.media_download import Limits
from t2vdata.storage.prefetch import Prefetcher
from t2vdata.types import Clip, MediaRef


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://prefetch"
    fsspec.filesystem("memory").rm("/prefetch", recursive=True)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were requested, in order."""
    urls: list[str] = []
    real = storage.blocks

    def blocks(url: str, *positions: int, **options: object) -> object:
        urls.append(url)
        return real(url, *positions, **options)

    monkeypatch.setattr(storage, "blocks", blocks)
    return urls


def clips_of(urls: list[str]) -> list[Clip]:
    return [Clip(f"clip-{number}", ("x",), media=MediaRef(url)) for number, url in enumerate(urls)]


def test_a_few_files_are_downloaded_ahead_and_never_all(memory: str, requested: list[str]) -> None:
    urls = [f"{memory}/{number:02d}.bin" for number in range(20)]
    for number, url in enumerate(urls):
        storage.write_whole(url, bytes([number]) * 100)
    clips = clips_of(urls)
    with Prefetcher(clips):
        assert requested == []
        for number, clip in enumerate(clips):
            assert prefetch.fetch(clip, 1) == bytes([number]) * 100
            assert len(requested) <= number + 1 + Limits().num_ahead
    assert requested == urls


def test_a_file_is_downloaded_once_for_all_its_windows(memory: str, requested: list[str]) -> None:
    storage.write_whole(f"{memory}/a.bin", b"a")
    clips = clips_of([f"{memory}/a.bin"] * 4)
    with Prefetcher(clips):
        assert [prefetch.fetch(clip, 1) for clip in clips] == [b"a"] * 4
    assert len(requested) == 1


def test_files_that_wait_have_a_limit_of_bytes(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2vdata.storage.remote.BLOCK", 100)
    urls = [f"{memory}/{number}.bin" for number in range(8)]
    for number, url in enumerate(urls):
        storage.write_whole(url, bytes([number]) * 900)
    clips = clips_of(urls)
    limits = Limits(ahead_bytes=1000)
    with Prefetcher(clips, limits) as prefetcher:
        for number, clip in enumerate(clips):
            assert prefetch.fetch(clip, 1) == bytes([number]) * 900
    # The needed file arrives whole, and each of the others may add the block that it had already requested.
    assert 900 < prefetcher.peak_bytes <= 1000 + 900 + limits.num_ahead * 100


def test_a_large_file_waits_on_the_disk_without_a_name(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    storage.write_whole(f"{memory}/a.bin", bytes(range(200)) * 10)
    (clip,) = clips_of([f"{memory}/a.bin"])
    with Prefetcher([clip], Limits(in_memory_bytes=1000)):
        source = prefetch.fetch(clip, 1)
        assert isinstance(source, str)
        assert Path(source).read_bytes() == bytes(range(200)) * 10
        assert list(scratch.iterdir()) == []
    assert not os.path.exists(source)
    assert prefetch.read(clip, 1) == bytes(range(200)) * 10


def test_a_prefetcher_inside_another_is_the_current_one_until_it_ends(memory: str, requested: list[str]) -> None:
    for name in ("a", "b"):
        storage.write_whole(f"{memory}/{name}.bin", name.encode())
    (outer, inner) = clips_of([f"{memory}/a.bin", f"{memory}/b.bin"])
    with Prefetcher([outer]):
        assert prefetch.fetch(outer, 1) == b"a"
        with Prefetcher([inner]):
            assert prefetch.fetch(inner, 1) == b"b"
        assert prefetch.fetch(outer, 1) == b"a"
    assert requested == [f"{memory}/a.bin", f"{memory}/b.bin"]


def test_clips_without_a_download_start_no_threads() -> None:
    script = """
import threading
from t2vdata.storage.prefetch import Prefetcher
from t2vdata.types import Clip, MediaRef

with Prefetcher([Clip("drawn", ("x",)), Clip("local", ("x",), media=MediaRef("/data/a.mp4"))]):
    print(threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
