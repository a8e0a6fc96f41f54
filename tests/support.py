"""What several test files call."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2vdata.build import BuildSpec

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# Small clips, so that hundreds of them are built in a second.
TINY = {"n": 60, "frames": 8, "size": 24, "digit_size": 12, "holdout": 4}


def tiny_spec(shard_size: int = 20, **options: object) -> BuildSpec:
    return BuildSpec("mnist-motion", options={**TINY, **options}, shard_size=shard_size)


def hashes(folder: Path) -> dict[str, str]:
    """Return {path below folder: SHA-256} of every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def t2vdata(*words: str | Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "t2vdata", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **settings)


def skip_or_fail(reason: str) -> None:
    """Skip what this machine cannot test; fail where nothing may be skipped."""
    if os.environ.get("T2VDATA_NO_SKIPS") == "1":
        pytest.fail(f"T2VDATA_NO_SKIPS is set: {reason}")
    pytest.skip(reason)
