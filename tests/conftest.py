"""What the tests share: a small built dataset and the folder of real data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import SHARED, skip_or_fail, tiny_spec

from t2vdata.build import BuildResult, build_dataset


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
