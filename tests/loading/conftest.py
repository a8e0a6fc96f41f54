"""Fixtures: shards of random bytes, a cache that gives up soon, and servers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import servers

from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.spec import CacheSpec

MiB = 1 << 20


def make_shard(folder: Path, number: int, num_bytes: int) -> ShardEntry:
    """Write a shard of random bytes, which readers never look into."""
    folder.mkdir(exist_ok=True)
    data = np.random.default_rng(number).bytes(num_bytes)
    (folder / f"set-train-{number:06d}.tar").write_bytes(data)
    return ShardEntry(f"set-train-{number:06d}.tar", 1, num_bytes, hashlib.sha256(data).hexdigest())


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, list[ShardEntry]]:
    """A folder with four shards of a mebibyte."""
    return tmp_path / "set", [make_shard(tmp_path / "set", number, MiB) for number in range(4)]


@pytest.fixture
def large(tmp_path: Path) -> tuple[Path, ShardEntry]:
    """A folder with one shard of 12 MiB, which takes several blocks."""
    return tmp_path / "large", make_shard(tmp_path / "large", 7, 12 * MiB)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., CacheSpec]:
    """Make the settings of a cache below the test's folder that gives up soon."""

    def make(**settings: object) -> CacheSpec:
        return CacheSpec(
            **{"folder": str(tmp_path / "cache"), "back_off_seconds": 0.01, "retries": 3, "timeout_seconds": 5, **settings}
        )

    return make


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., servers.Nginx]]:
    """Serve a folder with nginx until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda root, settings="": stack.enter_context(servers.nginx(root, tmp_path / "nginx", settings))
