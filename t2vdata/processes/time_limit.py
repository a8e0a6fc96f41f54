"""`TimeLimit`: how long a child may take for an answer, in time that it really had."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# Waiting for a disk says little about the file: a network drive may hang for minutes.
_DISK_FACTOR = 10
_FROZEN = ("do_freezer_trap", "__refrigerator")


class NoAnswerError(Exception):
    """The other process did not answer within its time."""


class TimeLimit:
    """Counts the processor time of a child, and the time that it sleeps without waiting for a disk.

    Not counted are the times in which the child was stopped (SIGSTOP, a frozen container), was ready to run and other processes
    ran, or in which this process was stopped or the machine was suspended. So the answer depends on the file, not on the load.
    """

    LOOK_SECONDS = 0.1
    """How often a child that does not answer is looked at."""

    def __init__(self, pid: int, seconds: float) -> None:
        """Count from now on; ``check`` raises once ``seconds`` have been counted."""
        self._pid, self._seconds = pid, seconds
        self._cpu_at_start = self._last_cpu = _cpu_seconds(pid)
        self._asleep_seconds = self._disk_seconds = 0.0

    def check(self, waited_seconds: float) -> None:
        """Count what happened while this process waited. Raises NoAnswerError when the limit is reached."""
        cpu = _cpu_seconds(self._pid)
        if cpu is None or self._last_cpu is None or self._cpu_at_start is None:
            # A system without /proc.
            self._asleep_seconds += min(waited_seconds, 2 * self.LOOK_SECONDS)
            used = 0.0
        else:
            # More than it waited: this process itself was stopped for a while.
            idle = max(0.0, min(waited_seconds, self.LOOK_SECONDS) - (cpu - self._last_cpu))
            state = _state(self._pid)
            self._asleep_seconds += idle if state == "asleep" else 0
            self._disk_seconds += idle if state == "disk" else 0
            used, self._last_cpu = cpu - self._cpu_at_start, cpu
        if used + self._asleep_seconds >= self._seconds or self._disk_seconds >= _DISK_FACTOR * self._seconds:
            raise NoAnswerError


def _cpu_seconds(pid: int) -> float | None:
    """Return the processor time that a process has used; None if it has ended, or on systems without /proc."""
    fields = _status_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None


def _state(pid: int) -> str:
    """Return what a process does: ``asleep``, waiting for a ``disk``, or anything else: runnable, stopped, frozen."""
    fields = _status_fields(pid)
    if not fields:
        return "ended"
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/wchan").read_text() in _FROZEN:
            return "frozen"
    return {"S": "asleep", "D": "disk"}.get(fields[0], "running or stopped")


def _status_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the second is the name, which may hold anything."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []
