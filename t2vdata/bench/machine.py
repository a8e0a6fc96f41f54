"""CPU time and memory of processes, and installed versions."""

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
    """Return the versions of Python, t2vdata and the installed packages that read and decode: {name: version}."""
    installed = {"python": platform.python_version(), "t2vdata": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


def has_proc() -> bool:
    """Return whether the system has /proc, which describes other processes."""
    return Path("/proc/self/stat").exists()


def children() -> set[int]:
    """Return the ids of this process's running child processes; none on systems without /proc."""
    if not has_proc():
        return set()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return {pid for pid in pids if _stat(pid)[1:2] == [str(os.getpid())]}


def _stat(pid: int) -> list[str]:
    """Return the fields of a process's stat from ``state`` on (field 3 in proc_pid_stat(5)); none if it has ended."""
    try:
        # The name before them is in parentheses, and may contain parentheses and blanks.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(workers: Sequence[int]) -> float:
    """Return the CPU time that this process and its workers have used so far."""
    ticks = sum(int(field) for pid in workers for field in _stat(pid)[11:13])
    return time.process_time() + (ticks / os.sysconf("SC_CLK_TCK") if workers else 0)


def peak_bytes(workers: Sequence[int]) -> int:
    """Return the sum of the peak resident memory of each process."""
    if not has_proc():
        # In kilobytes, but in bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peaks = 0
    for pid in (os.getpid(), *workers):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return peaks
