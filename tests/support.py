"""What several test files call."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from t2vdata import datasets
from t2vdata.build.run import BuildSpec

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# Small clips, so that hundreds of them are built in a second.
TINY = {"n": 60, "frames": 8, "size": 24, "digit_size": 12, "holdout": 4}


# Sizes of mnist-motion's clips: the default one, and those that small baselines learn from.
CLIP_SIZES = {
    "64x64": {"size": 64, "digit_size": 28, "frames": 32},
    "48x48": {"size": 48, "digit_size": 28, "frames": 16},
    "32x32": {"size": 32, "digit_size": 14, "frames": 16},
    "24x24": {"size": 24, "digit_size": 14, "frames": 8},
    "24x24 of 12": {"size": 24, "digit_size": 12, "frames": 8},
}


# Clips of each split that show about as many test images as it has; of training, some.
ALL_DIGITS = {"train": 2000, "val": 5000, "test": 2500, "compositional": 2500}


def tiny_spec(shard_size: int = 20, **options: object) -> BuildSpec:
    return BuildSpec("mnist-motion", options={**TINY, **options}, shard_size=shard_size)


def patch_children(folder: Path, monkeypatch: pytest.MonkeyPatch, statements: str) -> None:
    """Have the child processes that t2vdata starts execute Python statements first."""
    (folder / "sitecustomize.py").write_text(statements)
    # Python runs it at its start, before a child has the path of its parent.
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


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


def real_clips(size: str, split: str, count: int, *, seed: int = 0, **options: object) -> tuple[list[np.ndarray], list[str]]:
    """Return clips (T, H, W, 1) of a split of mnist-motion, four pairs of digit and direction held out, and their captions."""
    counts = {"n": count} if split == "train" else {"n": 40, split: count}
    values = {**counts, "holdout": 4, **CLIP_SIZES[size], **options}
    dataset = datasets.open("mnist-motion", options=values, seed=seed)
    clips = list(dataset.clips(split))
    return [dataset.render(clip).data for clip in clips], [clip.captions[0] for clip in clips]


def skip_or_fail(reason: str) -> None:
    """Skip what this machine cannot test; fail where nothing may be skipped."""
    if os.environ.get("T2VDATA_NO_SKIPS") == "1":
        pytest.fail(f"T2VDATA_NO_SKIPS is set: {reason}")
    pytest.skip(reason)
