"""Shared fixtures: a small built dataset, the folder of real data, an S3 server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import hypothesis
import pytest
import servers
from support import SHARED, skip_or_fail, tiny_spec

from t2vdata.build.run import BuildResult, build_dataset

# Timing is never asserted; a busy machine must not fail a test.
hypothesis.settings.register_profile("t2vdata", deadline=None)
hypothesis.settings.load_profile("t2vdata")

# Test processes run side by side: threads of torch and NumPy on top of them would compete for the same cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    """A finished dataset that tests only read."""
    return build_dataset(tiny_spec(), tmp_path_factory.mktemp("built") / "out", num_workers=1)


@pytest.fixture
def copy(built: BuildResult, tmp_path: Path) -> Path:
    """A finished dataset that a test may damage."""
    return Path(shutil.copytree(built.out, tmp_path / "copy"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; CI has it, a user's checkout does not."""
    if not SHARED.exists():
        skip_or_fail(f"no {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server."""
    with servers.s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def s3_settings(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment of one who may read and write at the S3 server; gives its endpoint."""
    for name, value in servers.s3_environment(s3).items():
        monkeypatch.setenv(name, value)
    # File systems are kept by their arguments, which say nothing of the environment.
    fsspec.filesystem("s3").clear_instance_cache()
    yield s3
    fsspec.filesystem("s3").clear_instance_cache()
