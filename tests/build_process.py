"""A build in processes of its own, which tests kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from t2vdata import storage

FLAGS = ["--frames", "8", "--size", "24", "--digit-size", "12", "--holdout", "4"]


def start_build(out: str | Path, n: int, *, shard_size: int = 25, **settings: object) -> subprocess.Popen[bytes]:
    """Start a build of ``n`` small training clips with two workers, in a process group of its own."""
    command = [sys.executable, "-m", "t2vdata", "build", "mnist-motion", "--n", str(n), "--out", str(out), "--workers", "2"]
    command += ["--shard-size", str(shard_size), *FLAGS]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **settings)


def accept_ctrl_c() -> None:
    """Restore the default handler of SIGINT in a child process: under ``nohup`` and in background jobs it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def build_completely(out: str | Path, n: int) -> None:
    """Build, or resume, without an interruption."""
    process = start_build(out, n)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a build and its workers, if they still run, and close the pipe to it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_shards(out: str | Path, count: int, *, seconds: float = 60) -> None:
    """Wait until a build into ``out`` has ``count`` shards; fail after ``seconds``, longer than any start takes."""
    deadline = time.monotonic() + seconds
    while sum(name.endswith(".tar") for name in storage.sizes(str(out))) < count:
        assert time.monotonic() < deadline, f"{out} has fewer than {count} shards after {seconds:g} s"
        time.sleep(0.02)
