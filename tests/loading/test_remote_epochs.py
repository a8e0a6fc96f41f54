"""Batches from HTTP and S3: contents, order, and a server that dies meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch
from servers import Nginx
from support import tiny_spec

import t2vdata
from t2vdata.build.run import BuildResult, build_dataset
from t2vdata.errors import DataError, StorageError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Loader, LoadSpec, Resources, loader
from t2vdata.loading.spec import CacheSpec

Serve = Callable[..., Nginx]
MakeSpec = Callable[..., CacheSpec]


def assert_same(actual: Loader, expected: Loader) -> None:
    num_batches = 0
    for actual_batch, expected_batch in zip(actual, expected, strict=True):
        assert actual_batch.keys == expected_batch.keys
        assert torch.equal(actual_batch.video, expected_batch.video)
        num_batches += 1
    assert num_batches > 2


def both(dataset: Dataset, built: BuildResult, cache: CacheSpec, processes: bool = False) -> tuple[Loader, Loader]:
    """Return a loader of a remote dataset, and one of the same dataset here in the same order."""
    spec = LoadSpec(batch_size=16, window=2)
    there = Loader(dataset["train"], spec, seed=2, resources=Resources(workers=2, processes=processes, cache=cache))
    return there, Loader(t2vdata.open_dataset(built.out)["train"], spec, seed=2)


@pytest.mark.parametrize(("mode", "processes"), [("shards", False), ("shards", True), ("ranges", False)])
def test_batches_over_http_equal_those_of_the_folder(
    mode: str, processes: bool, built: BuildResult, serve: Serve, spec: MakeSpec
) -> None:
    there, here = both(t2vdata.open_dataset(serve(built.out).url), built, spec(mode=mode), processes)
    with there:
        assert_same(there, here)


def test_the_loader_reads_from_s3(built: BuildResult, s3_settings: str, spec: MakeSpec) -> None:
    store = fsspec.filesystem("s3")
    store.makedirs("loading", exist_ok=True)
    # One after the other: a server with a new bucket refuses twelve uploads at once.
    for path in sorted(Path(built.out).iterdir()):
        store.put_file(str(path), f"loading/mnist-motion/{path.name}")
    dataset = t2vdata.open_dataset("s3://loading/mnist-motion")
    words = t2vdata.Vocabulary.load(dataset.vocabulary_path)
    num_clips = 0
    resources = Resources(cache=spec())
    for batch in loader(dataset["train"], LoadSpec(batch_size=64, num_frames=8), vocabulary=words, seed=0, resources=resources):
        assert batch.video.shape[1:] == (1, 8, 24, 24)
        assert batch.tokens is not None
        num_clips += len(batch)
    assert num_clips == 60


def test_remote_data_is_shuffled_in_windows_of_shards(built: BuildResult, serve: Serve) -> None:
    remote = t2vdata.open_dataset(serve(built.out).url)
    assert Loader(remote["train"]).window == 8
    assert Loader(t2vdata.open_dataset(built.out)["train"]).window is None
    assert Loader(remote["train"], LoadSpec(window=None)).window is None


def test_shards_are_read_window_by_window(tmp_path: Path, serve: Serve, spec: MakeSpec) -> None:
    built = build_dataset(tiny_spec(shard_size=6), tmp_path / "out", num_workers=1)
    server = serve(built.out)
    cache = spec(fetch_ahead=1)
    dataset = t2vdata.open_dataset(server.url)
    reading = Loader(
        dataset["train"], LoadSpec(batch_size=6, window=2), resources=Resources(workers=1, prefetch=1, cache=cache)
    )
    assert len(dataset.manifest.splits["train"].shards) == 10
    next(iter(reading))
    # Of ten shards, a batch of the first window needs two; what else is there was fetched ahead.
    assert 1 <= len(list(Path(str(cache.folder)).glob("*.tar"))) <= 4
    reading.close()


def test_a_restart_of_the_server_costs_only_time(built: BuildResult, serve: Serve, spec: MakeSpec) -> None:
    server = serve(built.out)
    there, here = both(t2vdata.open_dataset(server.url), built, spec(retries=12, back_off_seconds=0.05))
    server.kill()
    later = threading.Timer(0.4, server.start)
    later.start()
    try:
        assert_same(there, here)
    finally:
        later.join()
        there.close()


def test_an_unreachable_server_is_named(built: BuildResult, serve: Serve, spec: MakeSpec) -> None:
    server = serve(built.out)
    there, _ = both(t2vdata.open_dataset(server.url), built, spec(retries=1))
    server.kill()
    with there, pytest.raises(StorageError, match=r"mnist-motion-train-00000\d.tar"):
        list(there)


def test_a_changed_shard_is_detected_by_its_hash(copy: Path, serve: Serve, spec: MakeSpec) -> None:
    dataset = t2vdata.open_dataset(serve(copy).url)
    name = dataset.manifest.splits["train"].shards[0].name
    data = bytearray((copy / name).read_bytes())
    data[600] ^= 1
    (copy / name).write_bytes(data)
    with Loader(dataset["train"], resources=Resources(cache=spec())) as reading, pytest.raises(DataError, match=name):
        list(reading)
