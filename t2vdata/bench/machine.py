"""What processes have used, and what is installed."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from t2vdata import __version__

_PACKAGES = ("numpy", "torch", "av", "zstandard", "opencv-python-headless", "opencv-python")


def versions() -> dict[str, str]:
    """Return {python, t2vdata and the packages that read and decode: version}; none for what is not installed."""
    found = {"python": platform.python_version(), "t2vdata": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def has_proc() -> bool:
    """Return whether the system tells of other processes."""
    return Path("/proc/self/stat").exists()


def children() -> set[int]:
    """Return the processes that this one has started and that have not ended; none where there is no /proc."""
    if not has_proc():
        return set()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return {pid for pid in pids if _stat(pid)[1:2] == [str(os.getpid())]}


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on (proc_pid_stat(5) numbers that 3); none when it has ended."""
    try:
        # The name before them is in brackets, and may hold brackets and blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(workers: Sequence[int]) -> float:
    """Return the processor time that this process and its workers have used so far."""
    ticks = sum(int(field) for pid in workers for field in _stat(pid)[11:13])
    return time.process_time() + (ticks / os.sysconf("SC_CLK_TCK") if workers else 0)


def peak_bytes(workers: Sequence[int]) -> int:
    """Return the sum of the most memory that each process has had."""
    if not has_proc():
        # Kilobytes, but on macOS bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peaks = 0
    for pid in (os.getpid(), *workers):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return peaks
